"""Drafts that cost nothing. In: a session and a prompt. Out: drafts, verdicts, commits.

What a text has said before it often says again: names, quotations, code, the source of a summary. So the last n tokens are looked
for in all that came before, n from the longest down to 1; what followed where they stand last is the draft (Saxena 2023, prompt
lookup decoding). The model verifies the drafts in its next pass: see `drafted`. A draft is certain, so the text is the
autoregressive one token for token, greedy or drawn with the same seed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .autoregressive import start_ids
from .chance import Chance
from .choosing import Choosing, choosing
from .constraints import NO_CONSTRAINTS, Constraints
from .drafted import Wishes, drafted, verified
from .samplers import Sampling, require
from .session import Session
from .step import Decoder
from .verify import Draft


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """num_drafts: how many tokens are guessed ahead at most. longest: of how many last tokens an earlier place is looked for."""

    num_drafts: int = 10
    longest: int = 3

    def __post_init__(self) -> None:
        """Raises CutawayError below 1."""
        require(self.num_drafts >= 1, "num_drafts", self.num_drafts, "1 token and more; else decode autoregressively")
        require(self.longest >= 1, "longest", self.longest, "1 token and more")


def lookup(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    looking: Lookup | None = None,
    source_ids: Sequence[int] | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    constraints: Constraints = NO_CONSTRAINTS,
    chance: Chance | None = None,
) -> Decoder:
    """Continue the session with the prompt and then up to max_tokens tokens, as `autoregressive` does, which see for arguments.

    looking: how far ahead. source_ids: what the session's encoder has read, which is looked through, too. chance: where random
    choices come from; None: from the seed and the request. Raises CutawayError, at the first step, as `autoregressive`.
    """
    ids: Sequence[int] = prompt_ids or start_ids(session)
    how = choosing(
        session, ids, sampling,
        max_tokens=max_tokens, eos_ids=eos_ids, request=request, constraints=constraints, chance=chance,
    )  # fmt: skip
    text = Text((looking or Lookup()).longest)
    text.add([*(source_ids or ()), *session.ids, *ids])
    yield from drafted(session, ids, _Found(session, how, text, (looking or Lookup()).num_drafts), how)


class Text:
    """A text that grows, and what followed its last tokens earlier. A look costs the same however long the text is."""

    def __init__(self, longest: int) -> None:
        """longest: of how many last tokens an earlier place is looked for."""
        self.longest, self.ids = longest, list[int]()
        self._follows = dict[tuple[int, ...], int]()
        """Up to `longest` tokens -> where the text went on behind the latest place at which they stand."""

    def add(self, ids: Sequence[int]) -> None:
        """The text goes on with ids."""
        for token in ids:
            end = len(self.ids)
            for size in range(1, min(self.longest, end) + 1):
                self._follows[tuple(self.ids[end - size :])] = end
            self.ids.append(token)

    def following(self, most: int) -> list[int]:
        """What followed the last tokens where they stood before, `most` tokens; [] where they are new.

        What followed ends with the text itself; behind that the text goes on in its circle.
        """
        for size in range(min(self.longest, len(self.ids)), 0, -1):
            start = self._follows.get(tuple(self.ids[-size:]))
            if start is not None:
                period = len(self.ids) - start
                return [self.ids[start + index % period] for index in range(most)]
        return []


class _Found:
    """Guesses out of a text that holds all that was said: a `Guesser`."""

    def __init__(self, session: Session, choosing: Choosing, text: Text, num_drafts: int) -> None:
        self.session, self.choosing, self.text, self.num_drafts = session, choosing, text, num_drafts

    def drafts(self, ids: Sequence[int], place: int, most: int) -> Wishes[list[Draft]]:  # noqa: ARG002 (of every guesser)
        """See `Guesser`. Nothing is guessed behind what ends a text."""
        yield from ()
        tokens = self.text.following(min(most, self.num_drafts))
        ends = [index for index, token in enumerate(tokens) if token in self.choosing.stops]
        return [Draft(token) for token in tokens[: ends[0] + 1 if ends else None]]

    def round(self, ids: Sequence[int], drafts: Sequence[Draft], place: int) -> Wishes[list[Draft]]:
        """See `Guesser`."""
        said = yield from verified(self.session, ids, drafts, self.choosing, place)
        self.text.add([each.token for each in said])
        return said
