"""Ids as words. In: a tokenizer and the size of the model's table. Out: what a person sees of an id, and which ids are words.

A word here is any token that text can come to: special and spare tokens are none, and neither are the rows of a table that is
larger than its tokenizer (some families pad it to a round size). A model without a tokenizer has ids alone (`Bare`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..text import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One token that an output makes likely. probability: its share of the whole vocabulary."""

    id: int
    text: str
    probability: float


class Names:
    """What a person sees of ids. vocab_size: rows of the model's token table."""

    vocab_size: int

    def text(self, token_id: int) -> str:
        """What a person sees of the id."""
        raise NotImplementedError

    def are_words(self) -> Tensor:
        """Whether each id is a word: [vocab] of bool."""
        raise NotImplementedError

    def guesses(self, probabilities: Tensor, count: int) -> tuple[Guess, ...]:
        """The likeliest tokens, the likeliest first. probabilities: [vocab]."""
        best, ids = probabilities.topk(min(count, len(probabilities)))
        return tuple(
            Guess(id=i, text=self.text(i), probability=p) for p, i in zip(best.tolist(), ids.tolist(), strict=True)
        )


@dataclass(frozen=True)
class Bare(Names):
    """Ids without texts, each a word: `id 5`."""

    vocab_size: int

    def text(self, token_id: int) -> str:
        """The id itself."""
        return f"id {token_id}"

    def are_words(self) -> Tensor:
        """All are: [vocab] of bool."""
        return torch.ones(self.vocab_size, dtype=torch.bool)


@dataclass(frozen=True)
class Words(Names):
    """The texts of a model's ids."""

    tokenizer: Tokenizer
    vocab_size: int

    def text(self, token_id: int) -> str:
        """What a person sees of the id; `#4100` for a row without a token."""
        if token_id >= self.tokenizer.vocab_size:
            return f"#{token_id}"
        return self.tokenizer.token_text(token_id)

    def role(self, token_id: int) -> str | None:
        """The role that the id plays, "eos" say, or None. One id with several roles has the last of them: eos before bos."""
        roles = self.tokenizer.roles
        if token_id in roles.spares:
            return "spare"
        return {number: role for role, number in roles.named().items()}.get(token_id)

    def are_words(self) -> Tensor:
        """Whether each id is a word: [vocab] of bool."""
        return self._are_words

    @cached_property
    def _are_words(self) -> Tensor:
        roles = self.tokenizer.roles
        reserved = {*roles.named().values(), *roles.spares}
        size = min(self.vocab_size, self.tokenizer.vocab_size)
        found = [i not in reserved and not self.tokenizer.is_special(i) for i in range(size)]
        return torch.tensor(found + [False] * (self.vocab_size - size))
