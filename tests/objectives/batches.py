"""Ragged batches for tests. In: a seed. Out: packed rows of documents with weights of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cutaway.data import Batch, Corpus, Loader, encode_documents
from tests import tiny

PAD = tiny.VOCAB - 1


def corpus(*, num_documents: int = 60, seed: int = 2, end_id: int | None = 0) -> Corpus:
    """Documents of 1 to 20 tokens."""
    generator = np.random.default_rng(seed)
    texts = [
        "".join(chr(97 + c) for c in generator.integers(0, 20, generator.integers(1, 20))) for _ in range(num_documents)
    ]

    def encode(batch: list[str]) -> list[list[int]]:
        return [[1 + ord(character) - 97 for character in text] for text in batch]

    return encode_documents(texts, encode, end_id=end_id, vocab_size=tiny.VOCAB)


def packed(num_rows: int, *, context: int = 12) -> Batch:
    """Packed rows whose weights are 0, 0.5, 1 or 2: documents end in them, and padding is in some."""
    loader = Loader([corpus()], context=context, micro_batch_size=num_rows, seed=1, packing="packed", pad_id=PAD)
    batch = loader.batch(0)
    weights = batch.weights * np.random.default_rng(3).choice([0.0, 0.5, 1.0, 2.0], batch.weights.shape)
    return replace(batch, weights=weights.astype(np.float32))


def rows(batch: Batch, start: int, end: int) -> Batch:
    """Some rows of a batch."""
    assert batch.segments is not None
    assert batch.positions is not None
    return Batch(
        input_ids=batch.input_ids[start:end],
        target_ids=batch.target_ids[start:end],
        weights=batch.weights[start:end],
        num_bytes=0.0,
        segments=batch.segments[start:end],
        positions=batch.positions[start:end],
    )
