"""Drive many decoders at once. In: decoders by key. Out: (key, event), as they happen.

The pieces that all decoders wait for are packed into one row and run in one pass, model by model (Yu et al. 2022,
iteration-level scheduling). Whoever finishes leaves, whoever waits joins; the decoders do not know. Sessions of
encoder-decoders and watched sessions take part, but each of their passes is their own, since a memory or a watcher belongs
to one sequence. Slow twin: `run`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from torch import Tensor

from ..errors import CutawayError
from .pack import Work, make_works, next_row, run_row
from .run import Figures
from .session import Piece
from .step import Decoder, Event, Step

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Live(Generic[Key]):
    """A decoder that runs: the works it waits for, and whether it asked with a list."""

    key: Key
    decoder: Decoder
    figures: Figures
    works: list[Work] = field(default_factory=list)
    is_list: bool = False


class Engine(Generic[Key]):
    """Decoders that share their passes.

    figures: by key, from the moment a decoder joined; a pass that holds its piece is one of its own. failures: by key, what
    a decoder raised. num_passes: of all together. A decoder that raises leaves alone; the others go on. Figures and failures
    stay until their key is used again; whoever keeps an engine for long removes what it has read.
    """

    def __init__(self, *, max_row_tokens: int = 2048, max_active: int = 64) -> None:
        """Raises CutawayError below 1.

        max_row_tokens: of one pass; longer prompts are cut. Not cut, and then alone in their row, are steps whose visibility does
        not allow it and those of encoder-decoders and watched sessions. max_active: decoders at once.
        """
        for name, value in (("max_row_tokens", max_row_tokens), ("max_active", max_active)):
            if value < 1:
                raise CutawayError(f"{name} is {value}. It must be at least 1.")
        self.max_row_tokens, self.max_active = max_row_tokens, max_active
        self.figures: dict[Key, Figures] = {}
        self.failures: dict[Key, Exception] = {}
        self.num_passes = 0
        self._joining: deque[tuple[Key, Decoder]] = deque()
        self._live: dict[Key, _Live[Key]] = {}
        self._waiting: dict[Work, _Live[Key]] = {}  # oldest first
        self._cancelled: set[Key] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a decoder runs or waits."""
        return bool(self._joining or self._live)

    def add(self, key: Key, decoder: Decoder) -> None:
        """Let a decoder join as soon as there is a place, also while others run. Raises CutawayError for a key in use."""
        if key in self._live or any(key == other for other, _ in self._joining):
            raise CutawayError(f"The key {key!r} belongs to a decoder that still runs. Give every decoder its own.")
        self._joining.append((key, decoder))

    def cancel(self, key: Key) -> None:
        """End a decoder early, for example at a stop string. One that is not there any more is left in peace."""
        for waiting in [entry for entry in self._joining if entry[0] == key]:
            self._joining.remove(waiting)
            waiting[1].close()
        self._cancelled.add(key)
        if key in self._live:
            self._leave(self._live[key])

    def run(self, decoders: Mapping[Key, Decoder] | Sequence[Decoder]) -> Iterator[tuple[Key, Event]]:
        """All events of these decoders (keys of a sequence: 0, 1, …) and of those added while they run, until all are done.

        At the end the first failure is raised, with a note that names its key; all of them are in `failures`.
        """
        entries = decoders.items() if isinstance(decoders, Mapping) else enumerate(decoders)
        own = dict(cast(Iterable[tuple[Key, Decoder]], entries))
        for key, decoder in own.items():
            self.add(key, decoder)
        while self.is_busy:
            yield from (pair for pair in self.step() if pair[0] not in self._cancelled)
        for key in own:
            if key in self.failures:
                self.failures[key].add_note(f"This ended the decoder {key!r}; the others have finished.")
                raise self.failures[key]

    def step(self) -> list[tuple[Key, Event]]:
        """Let those in who wait, run one pass, and hear from the decoders that it answered."""
        self._cancelled.clear()
        events = self._join()
        row = self._next_row()
        if not row:
            return events
        run_row([(work, size) for work, size, _ in row], [piece for _, _, piece in row])
        self.num_passes += 1
        served = {work: self._waiting.pop(work) for work, _, _ in row}
        self._waiting |= {work: live for work, live in served.items() if work.num_left}
        for live in {live.key: live for live in served.values()}.values():
            live.figures.count([work.step for work in live.works if work in served])
            if not any(work.num_left for work in live.works):
                answers = [work.answer for work in live.works]
                events += self._advance(live, answers if live.is_list else answers[0])
        return events

    def _join(self) -> list[tuple[Key, Event]]:
        events: list[tuple[Key, Event]] = []
        while self._joining and len(self._live) < self.max_active:
            key, decoder = self._joining.popleft()
            self.failures.pop(key, None)
            self.figures[key] = Figures()
            self._live[key] = _Live(key, decoder, self.figures[key])
            events += self._advance(self._live[key], None)
        return events

    def _next_row(self) -> list[tuple[Work, int, Piece]]:
        """The next pass. A wish that cannot be granted ends its decoder, whose other pieces leave the row too."""
        if not self._waiting:
            return []
        row: list[tuple[Work, int, Piece]] = []
        for work, size in next_row(list(self._waiting), self.max_row_tokens):
            if work not in self._waiting:
                continue
            try:
                row.append((work, size, work.piece(size)))
            except Exception as error:
                self._fail(self._waiting[work], error)
        return [entry for entry in row if entry[0] in self._waiting]

    def _advance(self, live: _Live[Key], answer: Tensor | list[Tensor] | None) -> list[tuple[Key, Event]]:
        """Answer a decoder and hear its events, up to its next wish or its end."""
        events: list[tuple[Key, Event]] = []
        try:
            wish = live.decoder.send(answer)
            while isinstance(wish, Event) or wish == []:
                if isinstance(wish, Event):
                    live.figures.note(wish)
                    events.append((live.key, wish))
                wish = live.decoder.send(None if isinstance(wish, Event) else [])
            live.is_list = isinstance(wish, list)
            live.works = make_works([wish] if isinstance(wish, Step) else wish)
            self._check_sessions(live)
            self._waiting |= dict.fromkeys(live.works, live)
        except StopIteration:
            self._leave(live)
        except Exception as error:
            self._fail(live, error)
        return events

    def _check_sessions(self, live: _Live[Key]) -> None:
        taken = {id(work.session) for work in self._waiting}
        if any(id(work.session) in taken for work in live.works):
            raise CutawayError(
                f"The decoder {live.key!r} runs a session that another decoder is running. Give every decoder its own session; "
                "`fork` makes a twin."
            )

    def _fail(self, live: _Live[Key], error: Exception) -> None:
        self.failures[live.key] = error
        self._leave(live)

    def _leave(self, live: _Live[Key]) -> None:
        live.decoder.close()
        live.figures.stop()
        del self._live[live.key]
        for work in live.works:
            self._waiting.pop(work, None)
