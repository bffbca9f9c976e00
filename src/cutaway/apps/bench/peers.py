"""The programs that a model is compared with. In: a name and bits. Out: what the peer reads, and the process that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from ...errors import CutawayError
from .huggingface import Transformers
from .llama_cpp import LlamaCpp


@dataclass(frozen=True, kw_only=True)
class Peer:
    """kinds: bits -> the kind of numbers that it then reads. is_file: it reads one .gguf file, else a directory.

    package: as it is imported; distribution: as it is installed. checked: the bits at which it must compute as we do in full.
    make: its side, of a path, threads, tokens and kind.
    """

    name: str
    package: str
    distribution: str
    kinds: Mapping[int, str]
    is_file: bool
    checked: int
    make: Callable[[str, int, int, str], object]

    @property
    def version(self) -> str:
        """Of the installed package."""
        return version(self.distribution)

    def kind(self, bits: int) -> str:
        """The kind of numbers for bits. Raises CutawayError for those that it does not have."""
        if bits not in self.kinds:
            raise CutawayError(
                f"{self.name} is compared at {', '.join(map(str, self.kinds))} bits; --bits is {bits}. "
                "Take one of those, or another --vs."
            )
        return self.kinds[bits]


PEERS: Final = {
    "llama.cpp": Peer(
        name="llama.cpp",
        package="llama_cpp",
        distribution="llama-cpp-python",
        kinds={32: "f32", 16: "f16", 8: "q8_0", 4: "q4_0"},
        is_file=True,
        checked=16,
        make=LlamaCpp,
    ),
    "transformers": Peer(
        name="transformers",
        package="transformers",
        distribution="transformers",
        kinds={32: "float32", 16: "bfloat16"},
        is_file=False,
        checked=32,
        make=Transformers,
    ),
}
NEEDS_GGUF = "gguf"  # to write what llama.cpp reads


def find_peer(name: str) -> Peer:
    """A peer that is installed. Raises CutawayError, with the command that installs it, for one that is not."""
    peer = PEERS[name]
    needed = {peer.package: peer.distribution, **({NEEDS_GGUF: NEEDS_GGUF} if peer.is_file else {})}
    missing = [distribution for package, distribution in needed.items() if find_spec(package) is None]
    if missing:
        raise CutawayError(
            f"--vs {name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here. "
            f"Install:  pip install {' '.join(missing)}"
        )
    return peer
