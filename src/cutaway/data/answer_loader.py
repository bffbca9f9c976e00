"""Rows of questions -> batches of like lengths. In: a batch's number. Out: an `AnswerBatch`. See `even_batches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from .answer_rows import AnswerRow
from .even_batches import EvenBatches
from .packing import Ids

TRUNK = -1
"""The branch of what all branches of a row share."""
PAD = -2
"""The branch of padding."""


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Rows for one pass. All arrays: [batch, position]. input_ids: what is read; target_ids: what follows each; weights: 1 where
    it counts.

    branches: the number of each token's branch in its row, `TRUNK` or `PAD`. starts: how many tokens of the trunk stand before a
    token that sees them: before its branch, or before itself in the trunk. ranks: its place in its branch, 0 in the trunk.
    num_bytes: UTF-8 bytes of the answers.
    """

    input_ids: Ids
    target_ids: Ids
    weights: NDArray[np.float32]
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

    @property
    def num_scored(self) -> int:
        """Targets that count."""
        return int(np.count_nonzero(self.weights))


class AnswerLoader:
    """Batches of rows. batch_tokens: in one, padding included. pad_id: what fills rows up. Raises `CutawayError` for no row."""

    def __init__(self, rows: Sequence[AnswerRow], *, batch_tokens: int, seed: int, pad_id: int) -> None:
        if not rows:
            raise CutawayError(
                "No question fits into the model's context with its text. Raise model.context, or shorten the texts."
            )
        self.rows, self.pad_id = rows, pad_id
        sizes = np.array([row.num_tokens for row in rows])
        self.lengths: Ids = np.stack([sizes, np.zeros_like(sizes)], axis=1)
        self.batches = EvenBatches(self.lengths, batch_tokens=batch_tokens, seed=seed)

    @property
    def batches_per_epoch(self) -> int:
        """In how many batches every row comes once."""
        return self.batches.batches_per_epoch

    def batch(self, number: int) -> AnswerBatch:
        """One batch of the endless sequence, counted from 0."""
        return self._filled(self.batches.batch(number)[0])

    def all(self) -> list[AnswerBatch]:
        """Every row once, in the order of lengths: for evaluation."""
        return [self._filled(numbers) for numbers in self.batches.all()]

    def _filled(self, numbers: Ids) -> AnswerBatch:
        rows = [self.rows[number] for number in numbers]
        shape = len(rows), max(row.num_tokens for row in rows)
        arrays = {name: np.zeros(shape, dtype=np.int64) for name in ("starts", "ranks")}
        arrays |= {name: np.full(shape, self.pad_id) for name in ("input_ids", "target_ids")}
        branches, weights = np.full(shape, PAD), np.zeros(shape, dtype=np.float32)
        for place, row in enumerate(rows):
            end = len(row.trunk)
            arrays["input_ids"][place, :end] = row.trunk
            arrays["starts"][place, :end] = np.arange(end)
            branches[place, :end] = TRUNK
            for number, branch in enumerate(row.branches):
                part = place, slice(end, end + len(branch.ids) - 1)
                arrays["input_ids"][part], arrays["target_ids"][part] = branch.ids[:-1], branch.ids[1:]
                arrays["starts"][part], arrays["ranks"][part] = branch.start, np.arange(len(branch.ids) - 1)
                branches[part] = number
                end += len(branch.ids) - 1
                weights[place, end - branch.num_scored : end] = 1
        num_bytes = float(sum(branch.num_bytes for row in rows for branch in row.branches))
        return AnswerBatch(**arrays, branches=branches, weights=weights, num_bytes=num_bytes)
