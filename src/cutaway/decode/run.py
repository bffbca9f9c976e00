"""Drive one decoder. In: a decoder. Out: its events, one by one, and the figures of the run.

A list of Steps costs as few passes as the Steps allow: those of one model share a row (see `pack`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from time import perf_counter

from torch import Tensor

from .pack import execute
from .step import Decoder, Event, Step


@dataclass
class Figures:
    """What a generation cost. num_passes: forward passes of the model that has the say; num_draft_passes: of a draft model;
    seconds: wall time, the consumer of the events included; num_drafted, num_accepted: guesses made, and those that stood."""

    num_passes: int = 0
    num_draft_passes: int = 0
    seconds: float = 0.0
    seconds_to_first: float | None = None
    num_drafted: int = 0
    num_accepted: int = 0
    _final: set[int] = field(default_factory=set, repr=False)
    _started: float = field(default_factory=perf_counter, repr=False, compare=False)

    @property
    def num_tokens(self) -> int:
        """How many places hold their final token."""
        return len(self._final)

    @property
    def tokens_per_pass(self) -> float:
        """Final tokens per forward pass of the model that has the say; 0 before the first."""
        return self.num_tokens / self.num_passes if self.num_passes else 0.0

    @property
    def acceptance(self) -> float | None:
        """The share of drafts that stood, None where none was made."""
        return self.num_accepted / self.num_drafted if self.num_drafted else None

    @property
    def tokens_per_second(self) -> float:
        """Final tokens per second of wall time."""
        return self.num_tokens / self.seconds if self.seconds else 0.0

    def start(self) -> None:
        """The clock starts."""
        self._started = perf_counter()

    def count(self, steps: Collection[Step]) -> None:
        """Count a pass. steps: those of one decoder that it holds a piece of."""
        is_draft = all(step.is_draft for step in steps)
        self.num_draft_passes += is_draft
        self.num_passes += not is_draft

    def note(self, event: Event) -> None:
        """Count an event: a place is final after accept and commit, and no longer after anything else."""
        self.stop()
        self.num_drafted += event.kind == "draft"
        self.num_accepted += event.kind == "accept"
        if event.is_final:
            self._final.add(event.position)
            if self.seconds_to_first is None:
                self.seconds_to_first = self.seconds
        else:
            self._final.discard(event.position)

    def stop(self) -> None:
        """The time so far."""
        self.seconds = perf_counter() - self._started


def run(decoder: Decoder, figures: Figures | None = None) -> Iterator[Event]:
    """The decoder's events, as they happen; each Step is executed in between. Stop iterating to end it early.

    figures: filled in while it runs. Errors of the decoder and of its Steps are raised where they happen.
    """
    figures = Figures() if figures is None else figures
    figures.start()
    answer: Tensor | list[Tensor] | None = None
    try:
        while True:
            try:
                wish = decoder.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(wish, Event):
                figures.note(wish)
                yield wish
                continue
            logits, passes = execute([wish] if isinstance(wish, Step) else wish)
            answer = logits[0] if isinstance(wish, Step) else logits
            for steps in passes:
                figures.count(steps)
    finally:
        decoder.close()
        figures.stop()
