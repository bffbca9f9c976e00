"""Events -> text that is certain. In: events, in any order of places. Out: text from left to right, never part of a character.

A decoder that fills holes says its tokens out of order; what stands behind a hole waits until the hole is filled, and tokens that
were there from the start come in their turn. No part of a stop string and no special token is text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..config import ModelConfig
from ..errors import CutawayError
from ..text import StreamDecoder, Tokenizer
from .autoregressive import end_ids
from .natural import Way
from .step import Event
from .stop import StopText


def written(
    tokenizer: Tokenizer | None,
    config: ModelConfig,
    ids: Sequence[int],
    stop: Sequence[str],
    eos_ids: Collection[int] | None,
    way: Way,
) -> WrittenText:
    """The text that a model's decoder will write. ids: of the prompt; eos_ids: None for the model's own; the rest: as below."""
    if config.decoder is None or way.decoder_for(config) != "diffusion":
        return WrittenText(tokenizer, stop)
    holes = {place for place, token in enumerate(ids) if token == config.tokens.mask}.union(way.rewritten)
    first = min(holes, default=len(ids))
    there = {place: token for place, token in enumerate(ids) if place > first and place not in holes}
    return WrittenText(tokenizer, stop, there=there, first=first, ends=end_ids(config) if eos_ids is None else eos_ids)


class WrittenText:
    """The text of one decoder's events."""

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        stop: Sequence[str] = (),
        *,
        there: Mapping[int, int] | None = None,
        first: int | None = None,
        ends: Collection[int] = (),
    ) -> None:
        """tokenizer: None: events have no text. stop: strings that end the text and are no part of it.

        first: the first place that is to be filled, where places come out of order; None: they come in order. there: the ids of
        the places behind it that need no filling. ends: ids that end the text where one is filled in behind all that is there.
        Raises CutawayError for stop strings without a tokenizer.
        """
        if tokenizer is None and stop:
            raise CutawayError("This model has no tokenizer, so it writes no text that a stop string could end.")
        self._decoder = None if tokenizer is None else StreamDecoder(tokenizer, skip_special=True)
        self._stop, self._next, self._ends = StopText(stop), first, frozenset(ends)
        self._there, self._waiting = dict(there or {}), dict[int, int]()
        self._last_there = max(self._there, default=-1)

    def push(self, event: Event) -> tuple[str, bool]:
        """The text that this event makes certain, and whether the text has ended."""
        if self._decoder is None or not event.is_final or event.new is None:
            return "", False
        if self._next is None:
            return self._stop.push(self._decoder.push(event.new))
        self._waiting[event.position] = event.new
        text = ""
        while self._next in self._waiting or self._next in self._there:
            is_new = self._next in self._waiting
            token = self._waiting.pop(self._next) if is_new else self._there[self._next]
            self._next += 1
            if is_new and token in self._ends and self._next > self._last_there:
                return text, True
            more, is_stopped = self._stop.push(self._decoder.push(token))
            text += more
            if is_stopped:
                return text, True
        return text, False

    def finish(self) -> str:
        """What was held back, now that no more comes."""
        if self._decoder is None:
            return ""
        text, is_stopped = self._stop.push(self._decoder.finish())
        return text if is_stopped else text + self._stop.finish()
