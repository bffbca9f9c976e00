"""What a text must and must not say. In: logits and the ids so far. Out: logits, what is not allowed set to −inf.

The filters are pure functions and serve every decoder: one token after another, greedy or drawn, and beams. No n-gram twice:
Paulus et al. 2018 §2.5. A forced first token names the language to translate into (Johnson et al. 2017, Liu et al. 2020).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from .samplers import require


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Rules for the new tokens of a text; by default there are none.

    no_repeat: no sequence of so many tokens stands twice in the text, prompt included; None: off. min_tokens: how many new
    tokens come before an end. first_id: what the first new token is. last_id: what the token at max_tokens is, if the text gets
    that far. banned_ids: what is never said. A forced token is not subject to the other rules.
    Raises CutawayError for values outside what `__post_init__` lists.
    """

    no_repeat: int | None = None
    min_tokens: int = 0
    first_id: int | None = None
    last_id: int | None = None
    banned_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        size = self.no_repeat
        require(size is None or size >= 1, "no_repeat", size, "1 and more tokens; leave it out to allow repeats")
        require(self.min_tokens >= 0, "min_tokens", self.min_tokens, "0 and more")

    def check(self, vocab_size: int, max_tokens: int) -> None:
        """Raises CutawayError for ids that a model does not have, and for a minimum that max_tokens cuts off."""
        named = [(name, token) for name, token in (("first_id", self.first_id), ("last_id", self.last_id))]
        for name, token in [*named, *(("banned_ids", token) for token in self.banned_ids)]:
            require(token is None or 0 <= token < vocab_size, name, token, f"ids from 0 to {vocab_size - 1}")
        allowed = f"at most max_tokens, {max_tokens}"
        require(self.min_tokens <= max_tokens, "min_tokens", self.min_tokens, allowed)


NO_CONSTRAINTS = Constraints()


def constrain(
    logits: Tensor,
    ids: Sequence[int] | Tensor,
    rules: Constraints,
    *,
    num_new: int,
    max_tokens: int,
    end_ids: Collection[int],
) -> Tensor:
    """The logits, or log probabilities, under the rules. logits: [..., vocab]; ids: [..., seen], prompt included.

    num_new: how many tokens are new already. end_ids: what ends a text. Where nothing is left, the whole row is −inf.
    """
    if rules.last_id is not None and num_new == max_tokens - 1:
        return only(logits, rules.last_id)
    if rules.first_id is not None and num_new == 0:
        return only(logits, rules.first_id)
    early = end_ids if num_new < rules.min_tokens else ()
    banned = {*rules.banned_ids, *(token for token in early if 0 <= token < logits.shape[-1])}
    if banned:
        logits = without(logits, sorted(banned))
    if rules.no_repeat is not None:
        logits = without_repeats(logits, torch.as_tensor(ids, device=logits.device), rules.no_repeat)
    return logits


def only(logits: Tensor, token: int) -> Tensor:
    """Nothing but this token, which is certain: 0, the rest −inf. logits: [..., vocab]."""
    forced = torch.full_like(logits, -torch.inf)
    forced[..., token] = 0.0
    return forced


def without(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """None of these ids. logits: [..., vocab]."""
    return logits.index_fill(-1, torch.tensor(ids, device=logits.device), -torch.inf)


def without_repeats(logits: Tensor, ids: Tensor, size: int) -> Tensor:
    """No token that would complete a sequence of `size` tokens which stands in ids already.

    logits: [..., vocab]; ids: [..., seen].
    """
    length = ids.shape[-1]
    if length < size:
        return logits
    spans = ids.unfold(-1, size, 1)  # [..., span, size]
    end = ids[..., length - size + 1 :].unsqueeze(-2)
    found = (spans[..., :-1] == end).all(-1).nonzero(as_tuple=True)
    if not len(found[0]):
        return logits
    return logits.index_put((*found[:-1], spans[..., -1][found]), logits.new_tensor(-torch.inf))


def check_something_left(logits: Tensor, position: int) -> None:
    """Raises CutawayError where the rules leave no token. logits: [vocab]."""
    if bool(torch.isneginf(logits).all()):
        raise CutawayError(
            f"The rules leave no token for position {position}: all are banned. Allow longer repeats (a larger no_repeat), a "
            "smaller min_tokens, or fewer banned_ids."
        )
