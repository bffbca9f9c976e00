"""Which tokens and which heads. In: what a person wrote. Out: indices of the axes of a tensor.

Tokens are named by their place in the text: 3, [0, 3], "2:5" (2, 3 and 4), "4:" (4 and all that follow); negative places count
from the end of what is read. A pass that goes on from a cache holds the places from its first token on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError

Places = int | str | Sequence[int] | None
"""What a person writes for positions or heads; None: all."""

_SPAN = re.compile(r"(-?\d*):(-?\d*)")
_TOKENS = ("position", "query", "source")
_HEADS = ("head", "kv_head")
ENCODER = "encoder."


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places, checked. places: one by one; or all from `start` to before `stop` (None: to the end)."""

    places: tuple[int, ...] = ()
    start: int = 0
    stop: int | None = None
    is_span: bool = True

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


def chosen(what: Places, count: int, *, name: str = "positions", is_open: bool = False) -> Chosen:
    """Check what a person wrote. count: how many there are; is_open: more may follow, and places from `count` on are allowed.

    Raises CutawayError for what is no place, and for places that do not exist.
    """
    if what is None:
        return ALL
    if isinstance(what, str):
        return _span(what, count, name)
    listed = [what] if isinstance(what, int) and not isinstance(what, bool) else what
    if isinstance(listed, bool) or not all(isinstance(place, int) and not isinstance(place, bool) for place in listed):
        raise _refusal(what, name)
    found = [place + count if place < 0 else place for place in listed]
    for place, given in zip(found, listed, strict=True):
        if place < 0 or (place >= count and not is_open):
            raise CutawayError(f"{name} names {given}, and there are {count}: 0 to {count - 1}, or −1 for the last.")
    if not found:
        raise CutawayError(f"{name} is empty. Name at least one, or leave {name} out for all.")
    return Chosen(tuple(dict.fromkeys(found)), is_span=False)


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


def _span(text: str, count: int, name: str) -> Chosen:
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise _refusal(text, name)
    start, stop = (int(part) if part.lstrip("-") else None for part in found.groups())
    start, stop = (place + count if place is not None and place < 0 else place for place in (start, stop))
    first = start or 0
    if first < 0 or (stop is not None and stop <= first):
        raise CutawayError(f"{name} is '{text}', which holds nothing: it runs from {first} to before {stop}.")
    return Chosen(start=first, stop=stop)


def _refusal(what: object, name: str) -> CutawayError:
    return CutawayError(f"{name} is {what!r}. It takes a number, several ([0, 3]), or a span ('2:5', '4:').")
