"""Drafts against the model that has the say. In: both distributions. Out: how many drafts stand, and the token after them.

    accept d with probability min(1, p(d) / q(d));  at the first that falls, draw from max(0, p − q), normalised
    (Leviathan et al. 2023, algorithm 1; Chen et al. 2023): what comes out is distributed as p, whatever q is.

A draft that was certain, all of q on it, stands if a token drawn from p is it; else the token drawn is the one after. That is the
same rule, and the number drawn is the one that the autoregressive decoder draws there: the same seed gives the same text.
Greedy, p and q are all on one token: a draft stands if it is the most likely, and the token after it is the most likely one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .chance import ACCEPT, TOKEN, Chance


@dataclass(frozen=True, slots=True)
class Draft:
    """A guess for one place. distribution: what it was drawn from, [vocab]; None, and no probability: it was certain."""

    token: int
    probability: float | None = None
    distribution: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """num_accepted: leading drafts that stand. token: the one after them."""

    num_accepted: int
    token: int


def verify(target: Callable[[int], Tensor], drafts: Sequence[Draft], chance: Chance, position: int) -> Verdict:
    """Which drafts stand.

    target: what the model says at the place of the draft with this number, and behind the last, [vocab]; asked once for each
    place that is reached, in order. position: of the first draft.
    """
    for index, draft in enumerate(drafts):
        p, place = target(index), position + index
        if draft.distribution is None:
            token = chance.draw(p, place, TOKEN)
            if token != draft.token:
                return Verdict(index, token)
            continue
        ratio = float(p[draft.token]) / float(draft.distribution[draft.token])
        if ratio < 1.0 and not chance.happens(ratio, place, ACCEPT):
            return Verdict(index, chance.draw(_rest(p, draft.distribution), place, TOKEN))
    return Verdict(len(drafts), chance.draw(target(len(drafts)), position + len(drafts), TOKEN))


def _rest(p: Tensor, q: Tensor) -> Tensor:
    """What p has more than q: [vocab], which `draw` normalises."""
    rest = (p - q).clamp_min(0.0)
    return rest if float(rest.sum()) > 0 else p  # equal but for rounding
