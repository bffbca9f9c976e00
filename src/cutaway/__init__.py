"""Cutaway: a transformer language model with the side panel off.

In: a path, a name, or text. Out: `load()` gives the one public object, `LM`; everything else is reached from it.
Nothing heavy is imported until it is used, so that `import cutaway` and `cutaway --help` answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["LM", "Cache", "CutawayError", "__version__", "load"]

if TYPE_CHECKING:
    from .errors import CutawayError
    from .lm import LM, load
    from .runtime.cache import Cache


def __getattr__(name: str) -> object:
    """Import the public names on first use (PEP 562): torch loads with `load`, not with `import cutaway`."""
    if name in ("LM", "load"):
        from . import lm

        return getattr(lm, name)
    if name == "Cache":
        from .runtime.cache import Cache

        return Cache
    if name == "CutawayError":
        from .errors import CutawayError

        return CutawayError
    raise AttributeError(f"module 'cutaway' has no attribute '{name}'. Public names: {', '.join(__all__)}")
