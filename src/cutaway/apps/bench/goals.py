"""What is aimed at, and the table that says how far it was reached. In: a shape, bits, a peer. Out: goals, or None where none is.

They were set for two cores with AVX-512 VNNI and bf16, the machine otherwise idle, against llama.cpp on as many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GOALS_FOR: Final = ("avx512f", "avx512_vnni", "avx512_bf16")  # the instructions of the machine that they were set for
PEER: Final = "llama.cpp"
START_OF: Final = "llama-1.1b"
START_BITS: Final = 8
MOST_START: Final = 3.0  # seconds
PREFILL: Final = {16: 1.0, 8: 2.0}  # of the peer's rate, by bits


@dataclass(frozen=True, kw_only=True)
class Goal:
    """decode, prefill: of the peer's rate, at least; share: of the machine's read bandwidth while writing, at least."""

    decode: float | None = None
    prefill: float | None = None
    share: float | None = None


TABLE: Final = {
    ("llama-1.1b", 16): Goal(decode=1.0, prefill=PREFILL[16], share=0.88),
    ("llama-1.1b", 8): Goal(decode=1.15, prefill=PREFILL[8], share=0.88),
    ("llama-1.1b", 4): Goal(decode=1.3, share=0.80),
    ("llama-135m", 8): Goal(decode=1.2, prefill=PREFILL[8]),
    ("llama-135m", 4): Goal(decode=1.2),
    ("llama-15m", 8): Goal(decode=1.0, prefill=PREFILL[8]),
    ("llama-15m", 4): Goal(decode=1.0),
}


def goal_of(name: str, bits: int, peer: str | None) -> Goal:
    """What is aimed at for a shape; ratios only beside the peer that they were set against."""
    found = TABLE.get((name, bits), Goal())
    return found if peer == PEER else Goal(share=found.share)
