"""A long text -> pieces that a model can read. In: a text, and what fits. Out: spans of characters that cover all of it.

A piece ends where a sentence ends; inside a sentence that does not fit, between words; inside such a word, between characters.
Each piece is as long as fits. The next one begins where it ends, or some sentences before, so that both hold these.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

from ..errors import CutawayError
from .sentences import sentence_starts

Fits = Callable[[str], bool]


class Span(NamedTuple):
    """Characters of a text, from `start` up to before `end`."""

    start: int
    end: int


def spans(text: str, fits: Fits, repeats: Fits) -> Iterator[Span]:
    """The pieces of a text, in order: from its first character to its last.

    fits: whether a piece may be this long. repeats: whether two pieces may share this much. Either says yes to a text's beginning
    or end where it says yes to the text. Raises CutawayError where not even one character fits.
    """
    cutter, span = _Cutter(text, fits, repeats), Span(0, 0)
    while span.end < len(text):
        span = cutter.after(span)
        yield span


class _Cutter:
    """levels: where a piece may end, [0] of sentences, [1] of words, [2] of characters; each ends with the end of the text."""

    def __init__(self, text: str, fits: Fits, repeats: Fits) -> None:
        self.text, self.fits, self.repeats = text, fits, repeats
        self.first = len(text) - len(text.lstrip())  # no piece is made of spaces alone

    def after(self, last: Span) -> Span:
        """The next piece: it goes further than the last one, and shares with it what it can."""
        for start in (*self._shared(last), last.end):
            end = self._farthest(start)
            if end > last.end:
                return Span(start, end)
        raise CutawayError(
            f"Not even the character {self.text[last.end]!r} fits into a chunk. Allow chunks of more tokens."
        )

    def _shared(self, last: Span) -> Sequence[int]:
        """Where the next piece may begin inside the last one, the earliest first: at borders like that on which it ended."""
        if last.end == 0:
            return []
        borders = next(level for level in self._levels() if last.end in level)
        inside = borders[bisect_right(borders, last.start) : bisect_left(borders, last.end)]
        allowed = takewhile(lambda start: self.repeats(self.text[start : last.end]), reversed(inside))
        return [*allowed][::-1]

    def _farthest(self, start: int) -> int:
        """The last border up to which all fits, of sentences before words before characters; `start` where none does."""
        for borders in self._levels():
            first = bisect_right(borders, start)
            found = _last(borders, first, lambda end: self.fits(self.text[start:end]))
            if found >= first:
                return borders[found]
        return start

    def _levels(self) -> Iterator[list[int]]:
        yield self._sentences
        yield self._words
        yield self._characters

    @cached_property
    def _sentences(self) -> list[int]:
        starts = (start + _num_spaces(self.text, start) for start in sentence_starts(self.text))
        return self._borders(starts)

    @cached_property
    def _words(self) -> list[int]:
        return self._borders(match.start() for match in re.finditer(r"(?<=\s)\S", self.text))

    @cached_property
    def _characters(self) -> list[int]:
        return self._borders(match.start() for match in re.finditer(r"\S", self.text))

    def _borders(self, places: Iterator[int]) -> list[int]:
        """Increasing places at which something stands, and before which something stands; and the end."""
        size = len(self.text)
        return [*sorted({place for place in places if self.first < place < size}), size]


def _num_spaces(text: str, start: int) -> int:
    match = re.compile(r"\s*").match(text, start)
    assert match is not None, "no space is a match too"
    return match.end() - start


def _last(places: Sequence[int], first: int, is_right: Callable[[int], bool]) -> int:
    """The last index whose place is right, as those of all from `first` to it are; first - 1 where none is. Asks few of them."""
    low, step = first - 1, 1
    while low + step < len(places) and is_right(places[low + step]):
        low, step = low + step, 2 * step
    high = min(low + step, len(places))
    return low + bisect_left(range(low + 1, high), True, key=lambda index: not is_right(places[index]))
