"""Batches of pairs: each pair once an epoch, little padding, a pure function of seed and number, and exact contents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cutaway.data import Encoding, PairBatch, PairLoader, Pairs, PairSource, encode_pairs
from cutaway.errors import CutawayError

START, END, PAD = 0, 1, 2


def encode(texts: list[str]) -> list[list[int]]:
    """Letters as ids from 3."""
    return [[3 + ord(letter) - ord("a") for letter in text] for text in texts]


def pairs(folder: Path, number: int = 200, weight: float = 1.0, name: str = "a.tsv") -> Pairs:
    """Random pairs, no two alike: the source spells its number in letters."""
    generator = np.random.default_rng(3)
    lines = []
    for index in range(number):
        unique = "".join(chr(97 + int(digit)) for digit in str(index))
        source = unique + "k" * int(generator.integers(0, 9))
        lines.append(f"{source}\t{'z' * int(generator.integers(1, 12))}{unique}\n")
    (folder / name).write_text("".join(lines))
    source = PairSource(files=name, folder=folder, weight=weight)
    return encode_pairs(source, Encoding(encode, END, 40, folder / "cache", "letters"))


def loader(parts: list[Pairs], **knobs: int) -> PairLoader:
    return PairLoader(
        parts, **{"context": 64, "batch_tokens": 200, "seed": 5, "start_id": START, "pad_id": PAD, **knobs}
    )


def rows(batch: PairBatch) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(source, target) of each row, padding taken off, after every array was checked against the others."""
    found = []
    for row, length in enumerate(batch.source_lengths):
        source, counted = batch.source_ids[row], batch.weights[row] == 1
        target, read = batch.target_ids[row], batch.input_ids[row]
        assert (source[length:] == PAD).all()
        assert (target[~counted] == PAD).all()
        assert source[length - 1] == target[counted][-1] == END
        assert read[0] == START
        assert (read[1:] == target[:-1]).all()
        found.append((tuple(source[:length].tolist()), tuple(target[counted].tolist())))
    return found


def test_an_epoch_has_every_pair_once_and_the_next_one_in_another_order(tmp_path: Path) -> None:
    part = pairs(tmp_path)
    expected = Counter(
        (tuple(part.source.document(i).tolist()), tuple(part.target.document(i).tolist())) for i in range(200)
    )
    feed = loader([part])
    size = feed.batches_per_epoch
    epochs = [[row for number in range(first, first + size) for row in rows(feed.batch(number))] for first in (0, size)]
    assert Counter(epochs[0]) == Counter(epochs[1]) == expected
    assert epochs[0] != epochs[1]
    assert Counter(row for batch in feed.all() for row in rows(batch)) == expected


def test_a_batch_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    part = pairs(tmp_path)
    one, other = loader([part]), loader([part])
    for number in (9, 2, 77, 9):
        again = other.batch(number)
        assert np.array_equal(one.batch(number).source_ids, again.source_ids)
        assert np.array_equal(one.batch(number).target_ids, again.target_ids)
    assert any(
        not np.array_equal(one.batch(number).source_ids, loader([part], seed=6).batch(number).source_ids)
        for number in range(9)
    )


def test_batches_are_as_large_as_allowed_and_mostly_of_one_source_length(tmp_path: Path) -> None:
    batches = loader([pairs(tmp_path, 2000)], batch_tokens=400).all()
    sizes = [batch.source_ids.size + batch.target_ids.size for batch in batches]
    assert max(sizes) <= 400
    assert np.mean(sizes) > 280
    assert np.mean([len(set(batch.source_lengths.tolist())) == 1 for batch in batches]) > 0.8
    padding = 1 - sum(batch.num_scored for batch in batches) / sum(batch.target_ids.size for batch in batches)
    assert padding < 0.1


def test_a_pair_larger_than_a_batch_comes_alone(tmp_path: Path) -> None:
    batches = loader([pairs(tmp_path, 20)], batch_tokens=1).all()
    assert [len(batch.source_ids) for batch in batches] == [1] * 20


def test_weights_say_how_often_pairs_come(tmp_path: Path) -> None:
    parts = [pairs(tmp_path, 10, weight=2.0), pairs(tmp_path, 40, weight=0.25, name="b.tsv")]
    found = Counter(row for batch in loader(parts).all() for row in rows(batch))
    first = {(tuple(parts[0].source.document(i)), tuple(parts[0].target.document(i))) for i in range(10)}
    assert sum(found.values()) == 20 + 10
    assert all(found[row] >= 2 for row in first)


def test_pairs_that_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    part = pairs(tmp_path)
    longest = max(np.diff(part.source.document_starts).max(), np.diff(part.target.document_starts).max())
    feed = loader([part], context=int(longest) - 1)
    assert feed.num_left_out >= 1
    assert sum(len(batch.source_ids) for batch in feed.all()) == 200 - feed.num_left_out
    with pytest.raises(CutawayError, match="No pair has at most 1 tokens a side"):
        loader([part], context=1)


def test_bytes_are_those_of_the_targets(tmp_path: Path) -> None:
    part = pairs(tmp_path)
    assert sum(batch.num_bytes for batch in loader([part]).all()) == part.target.num_bytes
