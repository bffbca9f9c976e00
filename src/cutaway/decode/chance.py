"""Where decoders that draw several numbers a place get them. In: probabilities and a place. Out: an id, or yes or no.

A decoder asks a `Chance` and nothing else, so that a test can answer in every possible way and add up what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .samplers import draw, uniform

TOKEN, ACCEPT, REVEAL, DRAFT = 0, 1, 2, 3
"""What a number is for, the last part of its key: a token; whether a draft stands; whether a place is filled now; a draft."""


class Chance(Protocol):
    """Random choices, each with a place and a purpose of its own."""

    def draw(self, probabilities: Tensor, position: int, purpose: int = TOKEN) -> int:
        """An id with these probabilities: [vocab]."""
        ...

    def happens(self, probability: float, position: int, purpose: int) -> bool:
        """Yes with this probability."""
        ...


@dataclass(frozen=True, slots=True)
class Stateless:
    """Numbers that depend on nothing but seed, request, position and purpose."""

    seed: int
    request: int = 0

    def draw(self, probabilities: Tensor, position: int, purpose: int = TOKEN) -> int:
        """See `Chance`."""
        return draw(probabilities, uniform(self.seed, self.request, position, purpose))

    def happens(self, probability: float, position: int, purpose: int) -> bool:
        """See `Chance`."""
        return uniform(self.seed, self.request, position, purpose) < probability
