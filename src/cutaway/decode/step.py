"""What decoders and their drivers say to each other. In: a decoder's wishes. Out: logits for them, and events for everyone.

A decoder is a generator: it yields a Step (run these ids in this session), a list of Steps (beams; a target and a draft model)
or an Event (something happened to a place of the sequence), and receives the logits of its Steps, nothing for an Event. It does
not know whether it runs alone (`run`) or shares its passes with others (`Engine`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..model.visibility import Tokens
from .session import Read, Session

Kind = Literal["draft", "accept", "reject", "commit", "remask"]


@dataclass(frozen=True, slots=True)
class Step:
    """One wish: run ids in a session. The answer is logits [read, vocab].

    tokens: their visibility, batch 1; None: the causal continuation. read: which logits. keep: how many leading tokens stay in
    the session (None: all); what is to stay is known before the logits, partial acceptance is `session.rewind` afterwards.
    is_draft: whether it is a step of a draft model, whose passes count apart.
    """

    session: Session
    ids: Sequence[int]
    tokens: Tokens | None = None
    read: Read = "last"
    keep: int | None = None
    is_draft: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one place of the sequence; all of them in order replay the whole generation (`replay`).

    kind: draft (a guess was put there), accept (the guess is final), reject (the guess is taken away), commit (a final token
    was put there), remask (what was there is masked again). position: the absolute place in the sequence. old, new: the ids
    there before and after, None for none. probability: of `new` under the distribution it was drawn from, where it was drawn.
    """

    kind: Kind
    position: int
    old: int | None = None
    new: int | None = None
    probability: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether the place now holds its final token: what a stream of text may show."""
        return self.kind in ("accept", "commit")


Decoder = Generator[Step | list[Step] | Event, Tensor | list[Tensor] | None, None]


def ask(step: Step) -> Generator[Step, Tensor | list[Tensor] | None, Tensor]:
    """For decoders: `logits = yield from ask(step)`, the logits [read, vocab] of one step."""
    answer = yield step
    assert isinstance(answer, Tensor), "a driver answers a Step with its logits"
    return answer


def ask_all(steps: list[Step]) -> Generator[list[Step], Tensor | list[Tensor] | None, list[Tensor]]:
    """For decoders: `many = yield from ask_all(steps)`, the logits [read, vocab] of each step, in order."""
    answer = yield steps
    assert isinstance(answer, list), "a driver answers a list of Steps with a list of logits"
    return answer


def replay(events: Iterable[Event]) -> dict[int, int]:
    """What stands where after these events: position -> id. Rejected places are empty until something new stands there."""
    places: dict[int, int] = {}
    for event in events:
        if event.new is None:
            places.pop(event.position, None)
        else:
            places[event.position] = event.new
    return places
