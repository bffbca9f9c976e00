"""The `gguf` package, which only these files need. In: nothing. Out: the package, or one message with the command."""

from __future__ import annotations

from typing import Any

from ...errors import CutawayError


def gguf_package() -> Any:
    """The package. Raises CutawayError where it is not installed."""
    try:
        import gguf
    except ImportError as error:
        raise CutawayError(
            "Quantised numbers, and writing a .gguf file, need the package gguf, which is not installed. "
            "Install it:  pip install 'cutaway[gguf]'"
        ) from error
    return gguf
