"""Pairs -> batches by number of tokens, of like lengths. In: a batch's number. Out: a `PairBatch`.

Which pairs stand together, `even_batches` says: those of one source length, most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from .corpus import Corpus, Encoding, kept_corpus
from .even_batches import EvenBatches
from .packing import Ids
from .pairs import PairSource, read_pairs

_SIDES = 1  # ends what chance is for, so that it is not that of an epoch


class PairPart(Protocol):
    """What a loader reads: pairs from a file, or made of a text (`denoise`)."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def weight(self) -> float:
        """See `PairSource`."""
        ...

    @property
    def lengths(self) -> Ids:
        """Tokens of source and target of each pair, end tokens included: [pair, 2]."""
        ...

    @property
    def target_bytes(self) -> NDArray[np.float64]:
        """UTF-8 bytes that each target stands for: [pair]."""
        ...

    def sides(self, number: int, purpose: Sequence[int], /) -> tuple[Ids, Ids]:
        """Source and target of a pair, ended. purpose: what chance is for, if there is any."""
        ...


@dataclass(frozen=True)
class Pairs:
    """Encoded pairs: two corpora with as many documents. weight: see `PairSource`."""

    source: Corpus
    target: Corpus
    name: str
    weight: float = 1.0

    @cached_property
    def lengths(self) -> Ids:
        """See `PairPart`."""
        return np.stack([np.diff(side.document_starts) for side in (self.source, self.target)], axis=1)

    @cached_property
    def target_bytes(self) -> NDArray[np.float64]:
        """See `PairPart`."""
        return self.target.document_bytes.astype(np.float64)

    def sides(self, number: int, _: Sequence[int], /) -> tuple[Ids, Ids]:
        """See `PairPart`; nothing is left to chance."""
        source, target = (side.document(number).astype(np.int64) for side in (self.source, self.target))
        return source, target


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Pairs for one pass. source_ids: [batch, source]; source_lengths: [batch]; the rest [batch, position].

    input_ids: what the decoder reads, the start token first; target_ids: what it is to say; weights: 1 where a target counts.
    num_bytes: UTF-8 bytes of the targets.
    """

    source_ids: Ids
    source_lengths: Ids
    input_ids: Ids
    target_ids: Ids
    weights: NDArray[np.float32]
    num_bytes: float

    @property
    def num_scored(self) -> int:
        """Targets that count."""
        return int(np.count_nonzero(self.weights))


def encode_pairs(source: PairSource, encoding: Encoding) -> Pairs:
    """Both sides of a source as token ids, each text ended by the end token; kept on disk as `build_corpus` does.

    Raises `CutawayError` as `read_pairs` does.
    """
    reading = {"format": source.format, "source": source.source, "target": source.target}
    source.paths()  # a missing file is said before a cache is looked for
    sides = [
        kept_corpus(
            encoding,
            source.paths(),
            {**reading, "side": side},
            lambda _, place=place: (pair[place] for pair in read_pairs(source)),  # type: ignore[misc]
            source.name,
        )
        for place, side in enumerate(("source", "target"))
    ]
    return Pairs(sides[0], sides[1], source.name, source.weight)


class PairLoader:
    """Batches of one set of pairs or of several.

    context: the most tokens of a side; longer pairs are left out and counted in `num_left_out`. batch_tokens: of both sides
    together, padding included. start_id: what the decoder reads first. Raises `CutawayError` where nothing is left.
    """

    def __init__(
        self, parts: Sequence[PairPart], *, context: int, batch_tokens: int, seed: int, start_id: int, pad_id: int
    ) -> None:
        self.parts, self.context, self.batch_tokens, self.seed = parts, context, batch_tokens, seed
        self.start_id, self.pad_id = start_id, pad_id
        part, number, lengths = _listed(parts)
        is_short = (lengths <= context).all(axis=1)
        self.num_left_out = int((~is_short).sum())
        if not is_short.any():
            raise CutawayError(
                f"No pair has at most {context:,} tokens a side. Raise model.context, or shorten the texts."
            )
        self.part, self.number, self.lengths = part[is_short], number[is_short], lengths[is_short]
        self.batches = EvenBatches(self.lengths, batch_tokens=batch_tokens, seed=seed)

    @property
    def batches_per_epoch(self) -> int:
        """In how many batches every pair comes once."""
        return self.batches.batches_per_epoch

    def batch(self, number: int) -> PairBatch:
        """One batch of the endless sequence, counted from 0."""
        return self._filled(*self.batches.batch(number))

    def all(self) -> list[PairBatch]:
        """Every pair once, in the order of lengths: for evaluation."""
        return [self._filled(pairs, 0) for pairs in self.batches.all()]

    def _filled(self, pairs: Ids, epoch: int) -> PairBatch:
        source_lengths, target_lengths = self.lengths[pairs].T
        source_ids = np.full((len(pairs), source_lengths.max()), self.pad_id)
        target_ids = np.full((len(pairs), target_lengths.max()), self.pad_id)
        weights = np.arange(target_ids.shape[1]) < target_lengths[:, None]
        num_bytes = 0.0
        for row, pair in enumerate(pairs):
            index, number = int(self.part[pair]), int(self.number[pair])
            source, target = self.parts[index].sides(number, (self.seed, epoch, index, number, _SIDES))
            source_ids[row, : source_lengths[row]] = source
            target_ids[row, : target_lengths[row]] = target
            num_bytes += float(self.parts[index].target_bytes[number])
        input_ids = np.concatenate([np.full((len(pairs), 1), self.start_id), target_ids[:, :-1]], axis=1)
        return PairBatch(
            source_ids=source_ids,
            source_lengths=source_lengths,
            input_ids=input_ids,
            target_ids=target_ids,
            weights=weights.astype(np.float32),
            num_bytes=num_bytes,
        )


def _listed(parts: Sequence[PairPart]) -> tuple[Ids, Ids, Ids]:
    """Every pair as often as its weight says: the part, the number in it, and both lengths [pair, 2]."""
    columns = []
    for index, part in enumerate(parts):
        num_pairs = len(part.lengths)
        borders = np.floor(part.weight * np.arange(num_pairs + 1)).astype(np.int64)
        number = np.repeat(np.arange(num_pairs), np.diff(borders))
        columns.append((np.full_like(number, index), number, part.lengths[number]))
    part_of, numbers, sizes = (np.concatenate(column) for column in zip(*columns, strict=True))
    return part_of, numbers, sizes
