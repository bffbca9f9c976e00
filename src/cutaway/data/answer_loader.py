"""Rows of questions -> batches. In: a batch's number. Out: an `AnswerBatch`.

Each epoch shuffles the rows, and as many as have about `batch_tokens` tokens stand together, whatever their lengths: several
share a row of the batch and never see each other (longest first, each to where it leaves the least room; Ding et al. 2024,
arXiv:2404.10830). So a batch has little padding, and questions of all kinds. A batch depends on seed and number alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from .answer_rows import AnswerRow
from .loader import generator_of
from .packing import Ids

TRUNK = -1
"""The branch of what all branches of a row share."""
PAD = -2
"""The branch of padding."""


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Rows for one pass. All arrays: [batch, position]. input_ids: what is read; target_ids: what follows each; weights: 1 where
    it counts.

    segments: the number of the row of questions that each token belongs to, among those in its row of the batch. branches: the
    number of each token's branch there, `TRUNK` or `PAD`. starts: how many tokens of the trunk stand before a
    token that sees them: before its branch, or before itself in the trunk. ranks: its place in its branch, 0 in the trunk.
    num_bytes: UTF-8 bytes of the answers.
    """

    input_ids: Ids
    target_ids: Ids
    weights: NDArray[np.float32]
    segments: Ids
    branches: Ids
    starts: Ids
    ranks: Ids
    num_bytes: float

    @property
    def is_branch(self) -> NDArray[np.bool_]:
        """Whether each token belongs to one branch alone: [batch, position]."""
        return self.branches > TRUNK

    @property
    def is_padding(self) -> NDArray[np.bool_]:
        """Whether each token fills a row up: [batch, position]."""
        return self.branches == PAD


class AnswerLoader:
    """Batches of rows. batch_tokens: in one, about. pad_id: what fills rows up. Raises `CutawayError` for no row."""

    def __init__(self, rows: Sequence[AnswerRow], *, batch_tokens: int, seed: int, pad_id: int) -> None:
        if not rows:
            raise CutawayError(
                "No question fits into the model's context with its text. Raise model.context, or shorten the texts."
            )
        self.rows, self.seed, self.pad_id = rows, seed, pad_id
        self.lengths: Ids = np.array([row.num_tokens for row in rows])
        self.batch_size = max(1, round(batch_tokens / float(self.lengths.mean())))
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def batches_per_epoch(self) -> int:
        """In how many batches every row comes once; the last of an epoch may be smaller."""
        return -(-len(self.rows) // self.batch_size)

    def batch(self, number: int) -> AnswerBatch:
        """One batch of the endless sequence, counted from 0."""
        epoch, place = divmod(number, self.batches_per_epoch)
        return self._filled(self._epoch(epoch)[place * self.batch_size :][: self.batch_size])

    def all(self) -> list[AnswerBatch]:
        """Every row once, in the order of lengths: for evaluation."""
        order = np.argsort(self.lengths, kind="stable")
        return [self._filled(order[start:][: self.batch_size]) for start in range(0, len(order), self.batch_size)]

    def _draw_epoch(self, epoch: int) -> Ids:
        return generator_of(self.seed, epoch).permutation(len(self.rows))

    def _filled(self, numbers: Ids) -> AnswerBatch:
        placed = _packed(self.lengths[numbers].tolist())
        shape = len(placed), int(self.lengths[numbers].max())
        arrays = {name: np.zeros(shape, dtype=np.int64) for name in ("segments", "starts", "ranks")}
        arrays |= {name: np.full(shape, self.pad_id) for name in ("input_ids", "target_ids")}
        arrays["branches"] = np.full(shape, PAD)
        weights = np.zeros(shape, dtype=np.float32)
        for place, members in enumerate(placed):
            begin = 0
            for segment, member in enumerate(members):
                row = self.rows[int(numbers[member])]
                part = place, slice(begin, begin + row.num_tokens)
                begin += row.num_tokens
                _write(row, {name: array[part] for name, array in arrays.items()}, weights[part])
                arrays["segments"][part] = segment
        num_bytes = float(sum(branch.num_bytes for number in numbers for branch in self.rows[int(number)].branches))
        return AnswerBatch(**arrays, weights=weights, num_bytes=num_bytes)


def _packed(lengths: Sequence[int]) -> list[list[int]]:
    """Which items share a row as wide as the longest: longest first, each to where it leaves the least room."""
    width = max(lengths)
    rows: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        fitting = [place for place, free in enumerate(room) if free >= lengths[item]]
        if fitting:
            place = min(fitting, key=room.__getitem__)
        else:
            place = len(rows)
            rows.append([])
            room.append(width)
        rows[place].append(item)
        room[place] -= lengths[item]
    return rows


def _write(row: AnswerRow, arrays: Mapping[str, Ids], weights: NDArray[np.float32]) -> None:
    """A row into its place. arrays, weights: [position], as wide as the row."""
    end = len(row.trunk)
    arrays["input_ids"][:end], arrays["starts"][:end], arrays["branches"][:end] = row.trunk, np.arange(end), TRUNK
    for number, branch in enumerate(row.branches):
        part = slice(end, end + len(branch.ids) - 1)
        arrays["input_ids"][part], arrays["target_ids"][part] = branch.ids[:-1], branch.ids[1:]
        arrays["starts"][part], arrays["ranks"][part] = branch.start, np.arange(len(branch.ids) - 1)
        arrays["branches"][part] = number
        end += len(branch.ids) - 1
        weights[end - branch.num_scored : end] = 1
