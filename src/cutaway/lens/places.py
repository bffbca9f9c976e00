"""Which tokens and which heads. In: what a person wrote. Out: indices of the axes of a tensor.

Tokens are named by their place in the text: 3, [0, 3], "2:5" (2, 3 and 4), "4:" (4 and all that follow); negative places count
from the end of what is read. A pass that goes on from a cache holds the places from its first token on. A place that no pass
reaches is an error, never silence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import torch
from torch import Tensor

from ..errors import CutawayError

Places = SupportsIndex | str | Sequence[SupportsIndex] | None
"""What a person writes for positions or heads; None: all."""

_SPAN = re.compile(r"(-?\d*):(-?\d*)")
_TOKENS = ("position", "query", "source")
_HEADS = ("head", "kv_head")
ENCODER = "encoder."


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places, checked. places: one by one; or all from `start` to before `stop` (None: to the end).

    is_from_end: whether one was counted from the end.
    """

    places: tuple[int, ...] = ()
    start: int = 0
    stop: int | None = None
    is_span: bool = True
    is_from_end: bool = False

    def within(self, begin: int, count: int) -> list[int]:
        """The indices of those among `count` places that begin at `begin`."""
        if not self.is_span:
            return [place - begin for place in self.places if begin <= place < begin + count]
        end = begin + count if self.stop is None else min(self.stop, begin + count)
        return list(range(max(self.start, begin) - begin, end - begin))

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.is_span and self.start == 0 and self.stop is None


ALL = Chosen()


def chosen(what: Places, count: int, *, name: str = "positions", more: int = 0) -> Chosen:
    """Check what a person wrote. count: how many there are; more: how many may follow, whose places are allowed too.

    Raises CutawayError for what is no place, and for places that do not exist.
    """
    if what is None:
        return ALL
    if isinstance(what, str):
        return _span(what, count, name, is_open=more > 0)
    given = _numbers(what, name)
    found = [place + count if place < 0 else place for place in given]
    for place, said in zip(found, given, strict=True):
        if not 0 <= place < count + more:
            raise CutawayError(f"{name} names {said}, and {_how_many(count, more)}, or −1 for the last.")
    if not found:
        raise CutawayError(f"{name} is empty. Name at least one, or leave {name} out for all.")
    return Chosen(tuple(dict.fromkeys(found)), is_span=False, is_from_end=min(given) < 0)


def token_axis(axes: Sequence[str]) -> int | None:
    """The axis whose entries are tokens of the pass, or None."""
    return next((index for index, axis in enumerate(axes) if axis in _TOKENS), None)


def head_axis(axes: Sequence[str]) -> int | None:
    """The axis whose entries are heads, or None."""
    return next((index for index, axis in enumerate(axes) if axis in _HEADS), None)


def is_of_source(site: str, axes: Sequence[str]) -> bool:
    """Whether the tokens of a site are those of the source, which is read in one pass."""
    axis = token_axis(axes)
    return site.startswith(ENCODER) or (axis is not None and axes[axis] == "source")


def picked(tensor: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """These entries of an axis."""
    return tensor.index_select(axis, torch.tensor(indices, dtype=torch.long, device=tensor.device))


def _numbers(what: SupportsIndex | Sequence[SupportsIndex], name: str) -> list[int]:
    """One number or several, of whatever type numbers are, but no truth values."""
    try:
        several: Sequence[object] = list(what)  # type: ignore[arg-type]  # one number cannot be listed
    except TypeError:
        several = [what]
    if any(isinstance(each, bool | str) for each in several):
        raise _refusal(what, name)
    try:
        return [index(each) for each in several]  # type: ignore[arg-type]  # what is no number is refused
    except TypeError:
        raise _refusal(what, name) from None


def _span(text: str, count: int, name: str, *, is_open: bool) -> Chosen:
    """is_open: more may follow, so that a span may begin where nothing is yet."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise _refusal(text, name)
    start, stop = (int(part) if part.lstrip("-") else None for part in found.groups())
    is_from_end = any(place is not None and place < 0 for place in (start, stop))
    start, stop = (place + count if place is not None and place < 0 else place for place in (start, stop))
    first = start or 0
    if first < 0 or (stop is not None and stop <= first):
        raise CutawayError(f"{name} is '{text}', which holds nothing: it runs from {first} to before {stop}.")
    if first >= count and not is_open:
        raise CutawayError(f"{name} is '{text}', which holds nothing: {_how_many(count, 0)}.")
    return Chosen(start=first, stop=stop, is_from_end=is_from_end)


def _how_many(count: int, more: int) -> str:
    return f"there are {count + more}{' at most' if more else ''}: 0 to {count + more - 1}"


def _refusal(what: object, name: str) -> CutawayError:
    return CutawayError(f"{name} is {what!r}. It takes a number, several ([0, 3]), or a span ('2:5', '4:').")
