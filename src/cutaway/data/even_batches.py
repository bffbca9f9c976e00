"""Pairs of many lengths -> batches of about as many tokens. In: the lengths of items. Out: which of them stand together.

Items are sorted by length and cut into batches of about `batch_tokens` tokens, padding included; where the first length changes,
a batch that is at least half full ends, so that most batches have items of one length. Which of the items of equal lengths come
together changes from epoch to epoch, and so does the order of the batches; the borders do not. As in `loader`, a batch is a pure
function of the seed and its number.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .loader import generator_of
from .packing import Ids

_ENOUGH = 0.5  # of a batch: from here on it ends where the first length changes


class EvenBatches:
    """lengths: [item, 2], of the two texts of each item. batch_tokens: of both together."""

    def __init__(self, lengths: Ids, *, batch_tokens: int, seed: int) -> None:
        self.lengths, self.seed = lengths, seed
        self.borders = _cut(lengths[self._sorted()], batch_tokens)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def batches_per_epoch(self) -> int:
        """In how many batches every item comes once."""
        return len(self.borders) - 1

    def batch(self, number: int) -> tuple[Ids, int]:
        """The items of one batch of the endless sequence, counted from 0, and their epoch."""
        epoch, place = divmod(number, self.batches_per_epoch)
        order, places = self._epoch(epoch)
        at = places[place]
        return order[self.borders[at] : self.borders[at + 1]], epoch

    def all(self) -> list[Ids]:
        """Every item once, in the order of lengths: for evaluation."""
        order = self._sorted()
        return [order[a:b] for a, b in zip(self.borders[:-1], self.borders[1:], strict=True)]

    def _sorted(self) -> Ids:
        return np.lexsort((self.lengths[:, 1], self.lengths[:, 0]))

    def _draw_epoch(self, epoch: int) -> tuple[Ids, Ids]:
        """The items in the order of their lengths, equal ones shuffled; and the order of the batches."""
        generator = generator_of(self.seed, epoch)
        ties = generator.permutation(len(self.lengths))
        order = np.lexsort((ties, self.lengths[:, 1], self.lengths[:, 0]))
        return order, generator.permutation(self.batches_per_epoch)


def _cut(lengths: Ids, batch_tokens: int) -> Ids:
    """Where batches begin and end among items sorted by length. lengths: [item, 2]."""
    borders, widest, before = [0], 0, 0
    for place, (first, second) in enumerate(lengths.tolist()):
        count = place - borders[-1]
        is_full = (count + 1) * (first + max(widest, second)) > batch_tokens
        is_even_enough = first != before and count * (before + widest) >= _ENOUGH * batch_tokens
        if count and (is_full or is_even_enough):
            borders.append(place)
            widest = 0
        widest, before = max(widest, second), first
    return np.array([*borders, len(lengths)])
