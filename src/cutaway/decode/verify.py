"""Drafts against the model that has the say. In: both distributions. Out: how many drafts stand, and the token after them.

    accept d with probability min(1, p(d) / q(d));  at the first that falls, draw from max(0, p − q), normalised
    (Leviathan et al. 2023, algorithm 1; Chen et al. 2023): what comes out is distributed as p, whatever q is.

Greedy, p and q are all on one token: a draft stands if it is the most likely, and the token after it is the most likely one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .chance import ACCEPT, TOKEN, Chance


@dataclass(frozen=True, slots=True)
class Draft:
    """A guess for one place. distribution: what it was drawn from, [vocab]; None: it was certain, whatever it is drawn from."""

    token: int
    probability: float
    distribution: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """num_accepted: leading drafts that stand. token: the one after them."""

    num_accepted: int
    token: int


def verify(target: Sequence[Tensor], drafts: Sequence[Draft], chance: Chance, position: int) -> Verdict:
    """Which drafts stand.

    target: what the model says at each draft's place and after the last, [vocab] each, one more than drafts; position: of the
    first draft.
    """
    for index, (p, draft) in enumerate(zip(target[:-1], drafts, strict=True)):
        place = position + index
        ratio = _ratio(p, draft)
        if ratio < 1.0 and not chance.happens(ratio, place, ACCEPT):
            return Verdict(index, chance.draw(_rest(p, draft), place, TOKEN))
    return Verdict(len(drafts), chance.draw(target[-1], position + len(drafts), TOKEN))


def _ratio(p: Tensor, draft: Draft) -> float:
    q = 1.0 if draft.distribution is None else float(draft.distribution[draft.token])
    return float(p[draft.token]) / q


def _rest(p: Tensor, draft: Draft) -> Tensor:
    """What p has more than q: [vocab], which `draw` normalises."""
    if draft.distribution is None:
        rest = p.clone()
        rest[draft.token] = 0.0
        return rest
    rest = (p - draft.distribution).clamp_min(0.0)
    return rest if float(rest.sum()) > 0 else p  # equal but for rounding
