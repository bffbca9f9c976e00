"""Draft and verify, whoever drafts. In: a session, ids behind it, a `Guesser`. Out: drafts, verdicts, commits.

Reading a few tokens takes hardly longer than reading one, as long as memory is what a pass waits for. So a pass reads what is
certain so far and guesses behind it, and the model says which of them stand (`verify`). Greedy, it is the autoregressive text
token for token; sampled, it has the same distribution. At the first guess that falls, the token that the model wants instead is
there already, so that every pass makes progress (Leviathan et al. 2023).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from .choosing import Choosing, Spread
from .session import Session
from .step import Decoder, Event, Step, ask
from .verify import Draft, verify

Answer = Tensor | list[Tensor] | None
Found = TypeVar("Found")
Wishes = Generator[Step | list[Step] | Event, Answer, Found]


class Guesser(Protocol):
    """Who drafts, and has the drafts verified."""

    def drafts(self, ids: Sequence[int], place: int, most: int) -> Wishes[list[Draft]]:
        """Guesses for what follows ids, which stand behind the session. place: of the first guess; most: as many at most."""
        ...

    def round(self, ids: Sequence[int], drafts: Sequence[Draft], place: int) -> Wishes[list[Draft]]:
        """What stands of the drafts, and the token after it at the end. The session then holds ids and the drafts that stand."""
        ...


def drafted(session: Session, ids: Sequence[int], guesser: Guesser, choosing: Choosing) -> Decoder:
    """Go on behind ids, up to choosing.max_tokens tokens, round by round; the position table's end as in `autoregressive`."""
    forgotten, num_left = 0, choosing.max_tokens
    while True:
        place, room = forgotten + session.length + len(ids), session.room
        most = num_left - 1 if room is None else min(num_left - 1, room - len(ids))
        drafts = yield from guesser.drafts(ids, place, max(0, most))
        for index, draft in enumerate(drafts):
            yield Event("draft", place + index, None, draft.token, draft.probability)
        said = yield from guesser.round(ids, drafts, place)
        last = place + len(said) - 1
        end = yield from _tell(session, _verdicts(said, drafts, place), forgotten, choosing, place + num_left - 1)
        if end is not None:
            yield from (Event("reject", place + i, drafts[i].token) for i in range(end + 1, len(drafts)))
            return
        num_left -= len(said)
        ids = (said[-1].token,)
        if session.room == 0:
            ids = (*session.ids, *ids)[-((session.length + 1) // 2) :]
            forgotten = last + 1 - len(ids)
            session.rewind(0)


def verified(
    session: Session, ids: Sequence[int], drafts: Sequence[Draft], choosing: Choosing, place: int
) -> Wishes[list[Draft]]:
    """One pass over ids and drafts: see `Guesser.round`."""
    row = [*ids, *(draft.token for draft in drafts)]
    logits = yield from ask(Step(session, row, read=range(len(ids) - 1, len(row))))
    return judged(session, logits, drafts, choosing, place)


def judged(session: Session, logits: Tensor, drafts: Sequence[Draft], choosing: Choosing, place: int) -> list[Draft]:
    """What the model says of drafts that the session holds at its end: see `Guesser.round`.

    logits: those of the token before the drafts, and of each draft: [1 + draft, vocab]. place: of the first draft.
    Raises CutawayError for logits that are not numbers, and rules that leave no token.
    """
    start, spreads = session.length - len(drafts), list[Spread]()

    def target(index: int) -> Tensor:
        spreads.append(choosing.spread_left(logits[index], session.ids[: start + index], place + index))
        return spreads[-1].probabilities

    verdict = verify(target, drafts, choosing, place)
    session.rewind(start + verdict.num_accepted)
    stands = [*(draft.token for draft in drafts[: verdict.num_accepted]), verdict.token]
    return [Draft(token, spreads[i].probability(token, place + i)) for i, token in enumerate(stands)]


def _tell(
    session: Session, events: Iterable[Event], forgotten: int, choosing: Choosing, last: int
) -> Generator[Event, Answer, int | None]:
    """Events up to the one that ends the text, whose number comes back. last: the place where it ends in any case.

    Where they end, or nobody listens any more, the session holds what was told, but for the last token, as `autoregressive`
    leaves it: no draft that stands behind.
    """
    for index, event in enumerate(events):
        is_end = event.is_final and (event.new in choosing.stops or event.position == last)
        held = event.position - forgotten if event.is_final else session.length
        if is_end:
            session.rewind(held)
        try:
            yield event
        except GeneratorExit:
            session.rewind(min(held, session.length))
            raise
        if is_end:
            return index
    return None


def _verdicts(said: Sequence[Draft], drafts: Sequence[Draft], place: int) -> Iterator[Event]:
    """What became of the drafts, place by place, and the token after those that stand."""
    num_accepted = len(said) - 1
    for index in range(num_accepted):
        token = said[index].token
        yield Event("accept", place + index, token, token, said[index].probability)
    for index in range(num_accepted, len(drafts)):
        yield Event("reject", place + index, drafts[index].token)
    yield Event("commit", place + num_accepted, None, said[-1].token, said[-1].probability)
