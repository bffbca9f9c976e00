"""Documents -> rows: no token is lost, no row holds two at one place, and no segment sees another's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data import Batch, Corpus, encode_documents, sequential
from cutaway.data.packing import Fit, Packed, pack
from cutaway.errors import CutawayError

END, PAD = 5000, 5001
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def corpus_of(lengths: Sequence[int], end_id: int | None) -> Corpus:
    """Documents of these lengths; document d's tokens are 100 d, 100 d + 1, ..., so that an id names its place."""
    documents = iter([[100 * number + place for place in range(length)] for number, length in enumerate(lengths)])
    texts = ["x" * length for length in lengths]
    return encode_documents(texts, lambda batch: [next(documents) for _ in batch], end_id=end_id, vocab_size=5002)


def scored_pairs(batch: Batch) -> list[tuple[int, int]]:
    scored = batch.weights > 0
    return list(zip(batch.input_ids[scored].tolist(), batch.target_ids[scored].tolist(), strict=True))


def expected_pairs(lengths: Sequence[int], end_id: int | None) -> list[tuple[int, int]]:
    """The slow twin: what each token of each document is predicted from."""
    pairs = []
    for number, length in enumerate(lengths):
        ids = [100 * number + place for place in range(length)]
        ids = ids if end_id is None else [end_id, *ids, end_id]
        pairs += list(pairwise(ids))
    return sorted(pairs)


@settings(max_examples=150, deadline=None)
@given(
    lengths=LENGTHS,
    context=st.integers(1, 16),
    has_end=st.booleans(),
    fit=st.sampled_from(["best", "next"]),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
def test_packed_rows_hold_every_token_once_and_keep_documents_apart(
    lengths: list[int], context: int, has_end: bool, fit: Fit, seed: int | None
) -> None:
    end_id = END if has_end else None
    corpus = corpus_of(lengths, end_id)
    if not has_end and max(lengths) == 1:
        with pytest.raises(CutawayError, match="nothing to predict"):
            Packed(corpus, context, PAD, fit)
        return
    packed = Packed(corpus, context, PAD, fit)
    layout = packed.lay_out(None if seed is None else np.random.default_rng(seed))
    batch = layout.rows(np.arange(packed.num_rows))
    assert sorted(scored_pairs(batch)) == expected_pairs(lengths, end_id)
    assert batch.segments is not None
    assert batch.positions is not None
    for row in range(packed.num_rows):
        check_row(batch, row)


def check_row(batch: Batch, row: int) -> None:
    assert batch.segments is not None
    assert batch.positions is not None
    segments, scored = batch.segments[row], batch.weights[row] > 0
    assert np.array_equal(scored, segments >= 0)
    assert (batch.input_ids[row][~scored] == PAD).all()
    assert (batch.target_ids[row][~scored] == PAD).all()
    num_scored = int(scored.sum())
    assert num_scored > 0
    assert scored[:num_scored].all(), "padding stands at the end"
    assert (np.diff(segments[:num_scored]) >= 0).all()
    for segment in range(int(segments.max()) + 1):
        mine = segments == segment
        assert batch.positions[row][mine].tolist() == list(range(int(mine.sum())))
        inputs, targets = batch.input_ids[row][mine], batch.target_ids[row][mine]
        assert np.array_equal(inputs[1:], targets[:-1]), "a segment is one stretch of one document"
        assert len({identity // 100 for identity in targets.tolist() if identity != END}) <= 1


def test_the_borders_in_long_documents_move_but_not_the_rows() -> None:
    corpus = corpus_of([95, 30, 33, 7], END)
    packed = Packed(corpus, 16, PAD)
    layouts = [packed.lay_out(np.random.default_rng(seed)) for seed in range(20)]
    assert len({tuple(layout.starts.tolist()) for layout in layouts}) > 5
    for layout in layouts:
        assert len(scored_pairs(layout.rows(np.arange(packed.num_rows)))) == corpus.num_tokens


@given(lengths=st.lists(st.integers(1, 20), max_size=60), fit=st.sampled_from(["best", "next"]))
def test_no_row_overflows_and_best_fit_never_opens_a_row_needlessly(lengths: list[int], fit: Fit) -> None:
    rows = pack(lengths, 20, fit)
    filled = np.bincount(rows, weights=lengths) if lengths else np.zeros(0)
    assert (filled <= 20).all()
    assert (filled > 0).all()
    if fit == "best" and len(filled) > 1:
        smallest_two = np.sort(filled)[:2].sum()
        assert smallest_two > 20, "two rows that fit into one were left apart"


def test_best_fit_packs_what_next_fit_cannot() -> None:
    lengths = [9, 2, 8, 4, 6, 1]
    assert pack(lengths, 10, "best").max() + 1 == 3
    assert pack(lengths, 10, "next").max() + 1 == 4


@settings(max_examples=150, deadline=None)
@given(
    lengths=LENGTHS,
    context=st.integers(1, 50),
    stride_part=st.floats(0, 1),
    batch_size=st.integers(1, 5),
    has_end=st.booleans(),
)
def test_sequential_scores_every_token_once_with_enough_before_it(
    lengths: list[int], context: int, stride_part: float, batch_size: int, has_end: bool
) -> None:
    corpus = corpus_of(lengths, END if has_end else None)
    stride = 1 + int(stride_part * (context - 1))
    if not has_end and corpus.num_tokens < 2:
        with pytest.raises(CutawayError, match="too few"):
            list(sequential(corpus, context, batch_size, stride=stride))
        return
    batches = list(sequential(corpus, context, batch_size, stride=stride))
    stream = ([END] if has_end else []) + corpus.token_ids.tolist()
    pairs = [pair for batch in batches for pair in scored_pairs(batch)]
    assert pairs == list(pairwise(stream))
    first_bytes = 0.0 if has_end else float(corpus.bytes_before(np.array(1)))
    assert sum(batch.num_bytes for batch in batches) == pytest.approx(corpus.num_bytes - first_bytes)
    rows = [row for batch in batches for row in batch.weights]
    assert all(batch.input_ids.shape[0] <= batch_size for batch in batches)
    for row in rows[1:]:
        assert int(np.argmax(row)) >= len(row) - stride, "fewer tokens than context - stride stand before a scored one"


def test_sequential_packed_scores_every_token_once() -> None:
    lengths = [3, 50, 8, 1, 16]
    batches = list(sequential(corpus_of(lengths, END), 16, 2, packed_with=PAD))
    pairs = sorted(pair for batch in batches for pair in scored_pairs(batch))
    assert pairs == expected_pairs(lengths, END)
    assert sum(batch.num_bytes for batch in batches) == pytest.approx(sum(lengths))


@pytest.mark.parametrize(("context", "batch_size", "stride"), [(0, 1, None), (4, 0, None), (4, 1, 5), (4, 1, 0)])
def test_impossible_sizes_are_refused(context: int, batch_size: int, stride: int | None) -> None:
    with pytest.raises(CutawayError, match="stride at most context"):
        list(sequential(corpus_of([9], END), context, batch_size, stride=stride))
