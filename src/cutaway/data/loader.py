"""Corpora -> batches, in an order that depends on nothing but numbers. In: (seed, step, micro-batch, rank). Out: a `Batch`.

There is no state to save: training that stopped after step N goes on with `batch(N, ...)`. The rows of all steps form one
endless sequence, in which micro-batches and ranks are only borders, so that 1 × 32 rows are the same as 32 × 1. The sequence
is dealt in decks: each deck holds every corpus's share of rows, shuffled; each corpus gives its rows epoch by epoch, each
epoch a new layout and a new permutation. Every draw comes from a Philox generator seeded by what it is for (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from .corpus import Corpus
from .packing import Batch, Ids, Layout, Packing, Windows, windows

_ROWS_PER_DECK = 1024
_MIN_ROWS_OF_SOURCE = 2
_DECK, _EPOCH = 0, 1


@dataclass(frozen=True)
class _Epoch:
    layout: Layout
    order: Ids


class Loader:
    """Rows of one corpus or of a mixture.

    corpora, weights: a corpus of weight 6 has each of its rows read six times while one of weight 1 is read once, so its
    share of the rows is weight · num_rows / sum(weight · num_rows). No row comes twice within an epoch of its corpus.
    context: tokens that the model reads in a row. micro_batch_size: rows of one `batch`. num_micro_batches: batches that
    one rank adds up in a step. num_ranks: processes. packing, pad_id: see `packing.windows`.
    Raises `CutawayError`: impossible sizes, weights or seed, corpora of different vocabularies, too little text.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        *,
        context: int,
        micro_batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
        num_micro_batches: int = 1,
        num_ranks: int = 1,
        packing: Packing = "stream",
        pad_id: int | None = None,
    ) -> None:
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(corpora)
        _check(corpora, self.weights, seed)
        for name, size in (
            ("micro_batch_size", micro_batch_size),
            ("num_micro_batches", num_micro_batches),
            ("num_ranks", num_ranks),
        ):
            if size < 1:
                raise CutawayError(f"{name} is {size}; it must be 1 or more.")
        self.micro_batch_size, self.num_micro_batches, self.num_ranks = micro_batch_size, num_micro_batches, num_ranks
        self.seed, self.context = seed, context
        self.windows: list[Windows] = [windows(corpus, context, packing, pad_id) for corpus in corpora]
        rows = np.array([weight * part.num_rows for weight, part in zip(self.weights, self.windows, strict=True)])
        self.shares: NDArray[np.float64] = rows / rows.sum()
        self.rows_per_epoch = float(rows.sum())
        self.rows_per_deck = max(_ROWS_PER_DECK, int(np.ceil(_MIN_ROWS_OF_SOURCE / self.shares.min())))
        # What a draw gives depends on its arguments alone; the last ones are kept because the next batch asks again.
        self._epoch = lru_cache(maxsize=2 * len(corpora))(self._draw_epoch)
        self._deck = lru_cache(maxsize=2)(self._draw_deck)

    @property
    def rows_per_step(self) -> int:
        """Rows that all micro-batches and ranks read in one step."""
        return self.micro_batch_size * self.num_micro_batches * self.num_ranks

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which a corpus of weight 1 is read once."""
        return self.rows_per_epoch / self.rows_per_step

    def batch(self, step: int, micro_batch: int = 0, rank: int = 0) -> Batch:
        """The rows of one micro-batch: a pure function of the seed and these three numbers, each from 0."""
        assert step >= 0, f"step {step}"
        assert 0 <= micro_batch < self.num_micro_batches, f"micro-batch {micro_batch} of {self.num_micro_batches}"
        assert 0 <= rank < self.num_ranks, f"rank {rank} of {self.num_ranks}"
        first = ((step * self.num_micro_batches + micro_batch) * self.num_ranks + rank) * self.micro_batch_size
        corpus_of_row, number_in_corpus = self._deal(np.arange(first, first + self.micro_batch_size))
        parts, places = [], []
        for corpus, part in enumerate(self.windows):
            epochs, numbers = np.divmod(number_in_corpus, part.num_rows)
            for epoch in np.unique(epochs[corpus_of_row == corpus]):
                place = np.flatnonzero((corpus_of_row == corpus) & (epochs == epoch))
                drawn = self._epoch(corpus, int(epoch))
                parts.append(drawn.layout.rows(drawn.order[numbers[place]]))
                places.append(place)
        return _merge(parts, np.argsort(np.concatenate(places)))

    def _deal(self, rows: Ids) -> tuple[Ids, Ids]:
        """Rows of the endless sequence -> the corpus of each, and which of that corpus's rows it is, counted from the start."""
        if len(self.windows) == 1:
            return np.zeros_like(rows), rows
        decks, places = np.divmod(rows, self.rows_per_deck)
        corpus_of_row, number_in_corpus = np.zeros_like(rows), np.zeros_like(rows)
        for deck in np.unique(decks):
            here = decks == deck
            corpora, numbers = self._deck(int(deck))
            corpus_of_row[here], number_in_corpus[here] = corpora[places[here]], numbers[places[here]]
        return corpus_of_row, number_in_corpus

    def _draw_deck(self, deck: int) -> tuple[Ids, Ids]:
        """(corpus, number within the corpus) of each row of a deck: shuffled, in exact proportion up to whole rows."""
        dealt, after = self._dealt_before(deck), self._dealt_before(deck + 1)
        corpora = np.repeat(np.arange(len(self.windows)), after - dealt)
        corpora = generator_of(self.seed, _DECK, deck).permutation(corpora)
        numbers = np.zeros_like(corpora)
        for corpus, num_dealt in enumerate(dealt):
            mine = corpora == corpus
            numbers[mine] = num_dealt + np.arange(np.count_nonzero(mine))
        return corpora, numbers

    def _dealt_before(self, deck: int) -> Ids:
        """Rows that each corpus has given before a deck: differences of rounded borders, so that they always add up."""
        borders = np.floor(np.cumsum(self.shares) * deck * self.rows_per_deck).astype(np.int64)
        borders[-1] = deck * self.rows_per_deck
        return np.diff(borders, prepend=0)

    def _draw_epoch(self, corpus: int, epoch: int) -> _Epoch:
        generator = generator_of(self.seed, _EPOCH, corpus, epoch)
        layout = self.windows[corpus].lay_out(generator)
        return _Epoch(layout, generator.permutation(self.windows[corpus].num_rows))


def generator_of(*purpose: int) -> np.random.Generator:
    """Chance that depends on nothing but what it is for (Philox)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(purpose)))


def _merge(parts: Sequence[Batch], order: Ids) -> Batch:
    """Batches of the same kind -> one, its rows in this order."""
    if len(parts) == 1:
        return parts[0]

    def merged(arrays: Sequence[Ids | None]) -> Ids | None:
        present = [array for array in arrays if array is not None]
        return np.concatenate(present)[order] if present else None

    return Batch(
        input_ids=np.concatenate([part.input_ids for part in parts])[order],
        target_ids=np.concatenate([part.target_ids for part in parts])[order],
        weights=np.concatenate([part.weights for part in parts])[order],
        num_bytes=sum(part.num_bytes for part in parts),
        segments=merged([part.segments for part in parts]),
        positions=merged([part.positions for part in parts]),
    )


def _check(corpora: Sequence[Corpus], weights: Sequence[float], seed: int) -> None:
    if not corpora:
        raise CutawayError("There is no corpus to load. Name at least one source.")
    if len(weights) != len(corpora):
        raise CutawayError(f"There are {len(weights)} weights for {len(corpora)} corpora; give one for each.")
    for corpus, weight in zip(corpora, weights, strict=True):
        if not 0 < weight < float("inf"):
            raise CutawayError(f"The weight of {corpus.name} is {weight}; it must be a number above 0, and 1 is usual.")
    sizes = {corpus.vocab_size for corpus in corpora}
    if len(sizes) > 1:
        raise CutawayError(
            f"The corpora have vocabularies of different sizes ({sorted(sizes)}). Encode all with one tokenizer."
        )
    if seed < 0:
        raise CutawayError(f"seed is {seed}; it must be 0 or more.")
