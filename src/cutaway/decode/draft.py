"""Drafts of a smaller model. In: a session of each, and a prompt. Out: drafts, verdicts, commits.

A small model with the same tokens says K tokens, one after another; the large one reads all of them in one pass and says which
stand (Leviathan et al. 2023; Chen et al. 2023): see `drafted`. The small model's session follows the text: it forgets what fell,
and reads the token that was said instead before its next draft. Its passes count apart from those of the model that has the say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError
from ..model.transformer import Transformer
from ..text import Tokenizer
from .autoregressive import start_ids
from .chance import DRAFT, Chance
from .choosing import Choosing, choosing
from .constraints import NO_CONSTRAINTS, Constraints
from .drafted import Wishes, drafted, verified
from .samplers import Sampling, require
from .session import Session
from .step import Decoder, Step, ask
from .verify import Draft


class Speaker(Protocol):
    """A model with its tokenizer and a name, as `LM` is one."""

    model: Transformer
    name: str

    @property
    def own_tokenizer(self) -> Tokenizer | None:
        """None for a model that came without one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Drafter:
    """A model that drafts, and how far ahead. num_shared: ids below it are the same tokens to both models; None: all of them.

    Raises CutawayError for less than 1 draft.
    """

    model: Transformer
    num_drafts: int = 4
    num_shared: int | None = None

    def __post_init__(self) -> None:
        require(self.num_drafts >= 1, "num_drafts", self.num_drafts, "1 token and more; else decode autoregressively")

    @classmethod
    def of(cls, small: Speaker, target: Speaker, num_drafts: int = 4) -> Drafter:
        """One model that drafts for another. Raises CutawayError where an id is not the same token to both."""
        if small.own_tokenizer is None or target.own_tokenizer is None:
            return cls(model=small.model, num_drafts=num_drafts)
        return cls(model=small.model, num_drafts=num_drafts, num_shared=num_shared(small, target))


def num_shared(small: Speaker, target: Speaker) -> int:
    """How many ids, from 0 on, are the same tokens to both. Raises CutawayError where one that both have is not."""
    one, other = small.own_tokenizer, target.own_tokenizer
    assert one is not None, "asked of models with tokenizers"
    assert other is not None, "asked of models with tokenizers"
    shared = min(one.vocab_size, other.vocab_size)
    for token in range(shared) if one != other else ():
        here, there = (each.spelling(token) if each.has_id(token) else None for each in (one, other))
        if here != there:
            raise CutawayError(
                f"'{small.name}' cannot draft for '{target.name}': the id {token} is {here!r} to the one and {there!r} to the "
                "other. A draft model shares the tokenizer of the model that it drafts for: name one of the same family."
            )
    return min(shared, small.model.config.vocab_size, target.model.config.vocab_size)


def draft(
    session: Session,
    small: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    drafter: Drafter | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    constraints: Constraints = NO_CONSTRAINTS,
    chance: Chance | None = None,
) -> Decoder:
    """Continue the session with the prompt and then up to max_tokens tokens, as `autoregressive` does, which see for arguments.

    small: an empty session of the draft model. drafter: how far ahead; its model is that of `small`. chance: where random
    choices come from; None: from the seed and the request. Raises CutawayError, at the first step, for a draft model of other
    ids or one that says no next token, and whatever `autoregressive` refuses.
    """
    plan = drafter or Drafter(model=small.model)
    check_drafter(session.model, plan)
    if small.length:
        raise CutawayError(
            f"The draft model's session holds {small.length} tokens. Open a new one: it follows the text."
        )
    ids: Sequence[int] = prompt_ids or start_ids(session)
    how = choosing(
        session, ids, sampling,
        max_tokens=max_tokens, eos_ids=eos_ids, request=request, constraints=constraints, chance=chance,
    )  # fmt: skip
    yield from drafted(session, ids, _Follower(session, small, ids, how, plan), how)


def check_drafter(target: Transformer, drafter: Drafter) -> None:
    """Raises CutawayError for a draft model of other ids, of another way to read, or one that says no next token."""
    mine, theirs = target.config, drafter.model.config
    if drafter.num_shared is None and mine.vocab_size != theirs.vocab_size:
        raise CutawayError(
            f"The draft model has {theirs.vocab_size:,} ids, and the model it drafts for {mine.vocab_size:,}. Give one with the "
            "same tokenizer, or say how many ids both share: num_shared."
        )
    most, shared = min(mine.vocab_size, theirs.vocab_size), drafter.num_shared
    require(
        shared is None or 1 <= shared <= most, "num_shared", shared, f"1 to {most:,}, the ids that both models have"
    )
    if theirs.decoder is None or not theirs.says_next:
        raise CutawayError(
            f"A draft model says the next token, and this one was trained to {theirs.taught}. Give another one."
        )
    if mine.has_cross != theirs.has_cross:
        one, other = ("a source", "none") if mine.has_cross else ("no source", "one")
        raise CutawayError(f"The model reads {one}, and its draft model {other}. Give one that reads what it reads.")


class _Follower:
    """The draft model behind a text that it follows: a `Guesser`. Its session holds the text from `begin` on."""

    def __init__(
        self, session: Session, small: Session, ids: Sequence[int], choosing: Choosing, drafter: Drafter
    ) -> None:
        self.session, self.small, self.choosing = session, small, choosing
        self.num_drafts, self.num_shared = drafter.num_drafts, drafter.num_shared
        self.text, self.begin = [*session.ids, *ids], 0

    def drafts(self, ids: Sequence[int], place: int, most: int) -> Wishes[list[Draft]]:
        """See `Guesser`. Nothing is guessed behind what ends a text or what the draft model cannot read.

        Nor is it where the rules leave the draft model nothing to say.
        """
        found, before = list[Draft](), [*self.session.ids, *ids]
        new, most = self._unread(min(most, self.num_drafts))
        while len(found) < most:
            logits = (yield from ask(Step(self.small, new, is_draft=True)))[-1]
            spread = self.choosing.spread(self._among(logits), before, place + len(found))
            if spread.is_empty:
                break
            token = self.choosing.draw(spread.probabilities, place + len(found), DRAFT)
            found.append(Draft(token, spread.probability(token, place + len(found)), spread.probabilities))
            if token in self.choosing.stops or not self._can_read(token):
                break
            new = [token]
            before.append(token)
        return found

    def round(self, ids: Sequence[int], drafts: Sequence[Draft], place: int) -> Wishes[list[Draft]]:
        """See `Guesser`; the draft model forgets what fell."""
        said = yield from verified(self.session, ids, drafts, self.choosing, place)
        self.small.rewind(min(self.small.length, len(self.text) - self.begin + len(said) - 1))
        self.text += [each.token for each in said]
        return said

    def _unread(self, most: int) -> tuple[list[int], int]:
        """What of the text the draft model has not read, and how many tokens it may guess behind that.

        Where its position table is full, the last half of what it holds is read again, as the decoders do.
        """
        new, room = self.text[self.begin + self.small.length :], self.small.room
        if room is not None and len(new) > room:
            kept = max(1, (self.small.length + room) // 2)
            self.begin = len(self.text) - kept
            self.small.rewind(0)
            new, room = self.text[self.begin :], self.small.room
        if not self._can_read(max(new)):
            return new, 0
        return new, most if room is None else min(most, room - len(new) + 1)

    def _can_read(self, token: int) -> bool:
        return self.num_shared is None or token < self.num_shared

    def _among(self, logits: Tensor) -> Tensor:
        """The logits over the ids of the model that has the say: [vocab]; none for an id that is not shared."""
        logits = logits.to(self.session.device)
        if self.num_shared is None:
            return logits
        size = self.session.model.config.vocab_size
        return F.pad(logits[: self.num_shared], (0, size - self.num_shared), value=-torch.inf)
