"""Windows -> batches of like lengths. In: a batch's number. Out: a `WindowBatch`.

Each epoch shuffles the windows, sorts stretches of them by length, and shuffles the batches that these are cut into: there is
little padding, and what comes together changes from epoch to epoch. As in `loader`, a batch depends on seed and number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from .loader import generator_of
from .packing import Ids
from .question_windows import CLS, Cutter, Window

_STRETCH = 32  # batches whose windows are sorted together


@dataclass(frozen=True, kw_only=True)
class WindowBatch:
    """Windows for one pass. input_ids: [batch, position]; lengths: [batch]; types: as input_ids, None where all are 0.

    candidates: [batch, position], where an answer may begin and end: the context, and cls. target_ids: [batch, label], the places
    of begin and end.
    """

    input_ids: Ids
    lengths: Ids
    types: Ids | None
    candidates: NDArray[np.bool_]
    target_ids: Ids


class WindowLoader:
    """Batches of windows. batch_size: windows in one. pad_id: what fills rows up. Raises `CutawayError` for no window."""

    def __init__(self, windows: Sequence[Window], cutter: Cutter, *, batch_size: int, seed: int, pad_id: int) -> None:
        if not windows:
            raise CutawayError("There is no question to learn from. Name at least one file with questions.")
        self.windows, self.cutter, self.batch_size, self.seed, self.pad_id = windows, cutter, batch_size, seed, pad_id
        self.lengths: Ids = np.array([window.num_tokens for window in windows])
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def batches_per_epoch(self) -> int:
        """In how many batches every window comes once; the last of an epoch may be smaller."""
        return -(-len(self.windows) // self.batch_size)

    def batch(self, number: int) -> WindowBatch:
        """One batch of the endless sequence, counted from 0."""
        epoch, place = divmod(number, self.batches_per_epoch)
        order, places = self._epoch(epoch)
        start = int(places[place]) * self.batch_size
        return self._collated(order[start : start + self.batch_size])

    def all(self) -> list[WindowBatch]:
        """Every window once, in the order of lengths: for evaluation."""
        order = np.argsort(self.lengths, kind="stable")
        return [
            self._collated(order[start : start + self.batch_size]) for start in range(0, len(order), self.batch_size)
        ]

    def _draw_epoch(self, epoch: int) -> tuple[Ids, Ids]:
        """The windows, stretch by stretch in the order of their lengths; and the order of the batches."""
        generator = generator_of(self.seed, epoch)
        order = generator.permutation(len(self.windows))
        stretch = np.arange(len(order)) // (_STRETCH * self.batch_size)
        return order[np.lexsort((self.lengths[order], stretch))], generator.permutation(self.batches_per_epoch)

    def _collated(self, numbers: Ids) -> WindowBatch:
        return collate([self.windows[number] for number in numbers], self.cutter, self.pad_id)


def collate(windows: Sequence[Window], cutter: Cutter, pad_id: int) -> WindowBatch:
    """Windows side by side, shorter ones filled up at the right."""
    lengths: Ids = np.array([window.num_tokens for window in windows])
    shape = len(windows), int(lengths.max())
    input_ids, types = np.full(shape, pad_id), np.zeros(shape, dtype=np.int64)
    candidates = np.zeros(shape, dtype=np.bool_)
    candidates[:, CLS] = True
    for row, window in enumerate(windows):
        input_ids[row, : window.num_tokens] = cutter.row(window)
        types[row, : window.num_tokens] = cutter.types(window)
        candidates[row, window.first : window.first + window.stop - window.start] = True
    return WindowBatch(
        input_ids=input_ids,
        lengths=lengths,
        types=types if cutter.has_types else None,
        candidates=candidates,
        target_ids=np.array([(window.begin, window.end) for window in windows]),
    )
