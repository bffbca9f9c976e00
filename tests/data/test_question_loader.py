"""Batches of windows: each window once an epoch, little padding, a pure function of seed and number, and exact contents."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cutaway.data import Cutter, Question, WindowBatch, WindowLoader, collate
from cutaway.errors import CutawayError
from tests import asked

PAD = 0


def cutter() -> Cutter:
    tokenizer = asked.wordpiece()
    return Cutter(tokenizer, asked.config(tokenizer), length=64, stride=16, max_question=20)


def loader(num: int = 200, *, batch_size: int = 8, seed: int = 5) -> WindowLoader:
    """Questions of random lengths on parts of the contexts, no two alike."""
    generator, ours = np.random.default_rng(3), cutter()
    words = " ".join(asked.CONTEXTS).split()
    questions = [
        Question(text=f"When was {index}?", context=" ".join(words[: int(generator.integers(1, 20))]))
        for index in range(num)
    ]
    return WindowLoader(list(ours.windows(questions)), ours, batch_size=batch_size, seed=seed, pad_id=PAD)


def rows(batch: WindowBatch) -> list[tuple[int, ...]]:
    return [tuple(ids[:length].tolist()) for ids, length in zip(batch.input_ids, batch.lengths, strict=True)]


def test_an_epoch_has_every_window_once_and_the_next_one_in_other_batches() -> None:
    feed = loader()
    size, wanted = feed.batches_per_epoch, Counter(tuple(feed.cutter.row(window).tolist()) for window in feed.windows)
    epochs = [[rows(feed.batch(number)) for number in range(first, first + size)] for first in (0, size)]
    for epoch in epochs:
        assert Counter(row for batch in epoch for row in batch) == wanted
    assert {frozenset(batch) for batch in epochs[0]} != {frozenset(batch) for batch in epochs[1]}
    assert Counter(row for batch in feed.all() for row in rows(batch)) == wanted


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    one, other = loader(), loader()
    for number in (9, 2, 77, 9):
        assert np.array_equal(one.batch(number).input_ids, other.batch(number).input_ids)
    assert any(rows(one.batch(number)) != rows(loader(seed=6).batch(number)) for number in range(9))


def test_there_is_little_padding() -> None:
    feed = loader(1000)
    batches = [feed.batch(number) for number in range(feed.batches_per_epoch)]
    padding = 1 - sum(int(batch.lengths.sum()) for batch in batches) / sum(batch.input_ids.size for batch in batches)
    assert padding < 0.05
    assert {len(batch.lengths) for batch in batches} <= {8, len(feed.windows) % 8}


def test_rows_side_by_side() -> None:
    ours = cutter()
    windows = list(ours.windows(asked.questions()))
    batch = collate(windows, ours, PAD)
    assert batch.types is not None
    for row, window in enumerate(windows):
        length, context = window.num_tokens, slice(window.first, window.num_tokens - 1)
        assert batch.input_ids[row, :length].tolist() == ours.row(window).tolist()
        assert (batch.input_ids[row, length:] == PAD).all()
        assert (batch.types[row, length:] == 0).all()
        wanted = np.zeros(batch.input_ids.shape[1], dtype=bool)
        wanted[0] = wanted[context] = True
        assert np.array_equal(batch.candidates[row], wanted), "cls and the context; no question, no sep, no padding"
        assert batch.candidates[row, batch.target_ids[row]].all()
        assert batch.target_ids[row].tolist() == [window.begin, window.end]


def test_no_window_is_refused() -> None:
    with pytest.raises(CutawayError, match="no question to learn from"):
        WindowLoader([], cutter(), batch_size=1, seed=1, pad_id=PAD)
