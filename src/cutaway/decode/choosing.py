"""How the tokens of one text are chosen, place by place. In: logits and the ids before. Out: what a token is drawn from.

The rules of a text (`constraints`), then the filters of a sampler (`samplers`): alike for the model that has the say and for one
that drafts, so that a draft is what could stand at its place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from .autoregressive import check_max_tokens, end_ids
from .chance import TOKEN, Chance, Stateless
from .constraints import NO_CONSTRAINTS, Constraints, check_something_left, constrain
from .samplers import Sampling, distribution, not_numbers, penalised
from .session import Session


@dataclass(frozen=True, slots=True)
class Spread:
    """What the token of one place is drawn from. logits: under the rules and the penalty; probabilities: behind all filters; both
    [vocab]. is_greedy: whether nothing is drawn."""

    logits: Tensor
    probabilities: Tensor
    is_greedy: bool

    @property
    def is_empty(self) -> bool:
        """Whether the rules leave no token."""
        return bool(torch.isneginf(self.logits).all())

    def probability(self, token: int, place: int) -> float:
        """That of the distribution which was drawn from; of a greedy choice, which is certain, the model's own.

        Raises CutawayError for logits that are not numbers.
        """
        found = float(self.logits.softmax(-1)[token] if self.is_greedy else self.probabilities[token])
        if not math.isfinite(found):
            raise CutawayError(not_numbers(place))
        return found


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """How the new tokens of a text are chosen. first: the place of the first of them. stops: ids that end the text."""

    sampling: Sampling
    rules: Constraints
    chance: Chance
    first: int
    max_tokens: int
    stops: Collection[int]

    def spread(self, logits: Tensor, ids: Sequence[int], place: int) -> Spread:
        """What is drawn from at a place. logits: [vocab]; ids: all that stands before it."""
        if self.rules != NO_CONSTRAINTS:
            logits = constrain(
                logits, ids, self.rules, num_new=place - self.first, max_tokens=self.max_tokens, end_ids=self.stops
            )
        logits = penalised(logits, ids, self.sampling)
        return Spread(logits, distribution(logits, (), self.sampling), self.sampling.is_greedy)

    def draw(self, probabilities: Tensor, position: int, purpose: int = TOKEN) -> int:
        """See `Chance`: so that whoever draws tokens may ask this. Greedy, all is on one token, and no number is asked for."""
        if self.sampling.is_greedy:
            return int(probabilities.argmax())
        return self.chance.draw(probabilities, position, purpose)

    def happens(self, probability: float, position: int, purpose: int) -> bool:
        """See `Chance`."""
        return self.chance.happens(probability, position, purpose)

    def spread_left(self, logits: Tensor, ids: Sequence[int], place: int) -> Spread:
        """As `spread`. Raises CutawayError where the rules leave no token."""
        found = self.spread(logits, ids, place)
        if self.rules != NO_CONSTRAINTS:
            check_something_left(found.logits, place)
        return found


def choosing(
    session: Session,
    ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    eos_ids: Collection[int] | None,
    request: int,
    constraints: Constraints = NO_CONSTRAINTS,
    chance: Chance | None = None,
) -> Choosing:
    """How a session goes on behind ids. Arguments and errors: as of `autoregressive`.

    chance: where random choices come from; None: from the seed and the request.
    """
    check_max_tokens(max_tokens)
    config = session.model.config
    constraints.check(config.vocab_size, max_tokens)
    return Choosing(
        sampling=sampling,
        rules=constraints,
        chance=chance or Stateless(sampling.seed, request),
        first=session.length + len(ids),
        max_tokens=max_tokens,
        stops=end_ids(config) if eos_ids is None else frozenset(eos_ids),
    )
