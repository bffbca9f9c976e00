"""Corpora -> batches: every token at most once an epoch, the same rows however they are cut, and nothing to remember."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data import Batch, Corpus, Loader, encode_documents
from cutaway.errors import CutawayError


def counting(num_tokens: int, first: int = 0, end_id: int | None = None, document_size: int = 10**9) -> Corpus:
    """Documents whose ids count on, so that a target names its own place in the corpus."""
    ids = list(range(first, first + num_tokens))
    documents = [ids[begin : begin + document_size] for begin in range(0, num_tokens, document_size)]
    iterator = iter(documents)
    return encode_documents(
        ["x" * len(document) for document in documents],
        lambda texts: [next(iterator) for _ in texts],
        end_id=end_id,
        vocab_size=1_000_000,
    )


def same(one: Batch, other: Batch) -> bool:
    names = ("input_ids", "target_ids", "weights", "segments", "positions", "num_bytes")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def rows(loader: Loader, first_step: int, num_steps: int) -> list[list[int]]:
    return [row for step in range(first_step, first_step + num_steps) for row in loader.batch(step).target_ids.tolist()]


@settings(max_examples=60, deadline=None)
@given(num_tokens=st.integers(2, 200), context=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_stream_epoch_reads_each_token_once_but_for_the_ends(num_tokens: int, context: int, seed: int) -> None:
    corpus = counting(num_tokens)
    if num_tokens < context + 1:
        with pytest.raises(CutawayError, match=f"{num_tokens} tokens, but one window takes {context + 1}"):
            Loader([corpus], context=context, micro_batch_size=1, seed=seed)
        return
    loader = Loader([corpus], context=context, micro_batch_size=1, seed=seed)
    num_rows = loader.windows[0].num_rows
    for epoch in range(3):
        batches = [loader.batch(epoch * num_rows + step) for step in range(num_rows)]
        for batch in batches:
            assert (batch.input_ids + 1 == batch.target_ids).all()
            assert batch.weights.all()
            assert batch.num_bytes == pytest.approx(context)
        targets = sorted(target for batch in batches for target in batch.target_ids.ravel())
        assert targets == list(range(targets[0], targets[0] + num_rows * context))
        assert num_tokens - len(targets) <= 2 * context


def test_borders_and_order_change_from_epoch_to_epoch() -> None:
    loader = Loader([counting(1000)], context=16, micro_batch_size=1, seed=0)
    num_rows = loader.windows[0].num_rows
    epochs = [rows(loader, epoch * num_rows, num_rows) for epoch in range(6)]
    phases = {min(row[0] for row in epoch) % 16 for epoch in epochs}
    orders = {tuple(np.argsort([row[0] for row in epoch])) for epoch in epochs}
    assert len(phases) > 2
    assert len(orders) == 6
    assert rows(Loader([counting(1000)], context=16, micro_batch_size=1, seed=1), 0, num_rows) != epochs[0]


def mixture(**arguments: object) -> Loader:
    corpora = [counting(3000), counting(1000, 100_000), counting(200, 200_000)]
    settings = {"context": 8, "micro_batch_size": 4, "seed": 3, "weights": (1.0, 6.0, 2.5), **arguments}
    return Loader(corpora, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", ["stream", "packed"])
def test_batches_are_a_pure_function_of_their_numbers(packing: str) -> None:
    arguments = {"packing": packing, "pad_id": 999_999, "num_micro_batches": 3, "num_ranks": 2}
    whole = mixture(**arguments)
    numbers = [(step, micro, rank) for step in range(300) for micro in range(3) for rank in range(2)]
    batches = {number: whole.batch(*number) for number in numbers}
    # Resumed, and asked in another order, a new loader gives the same.
    resumed = mixture(**arguments)
    for number in numbers[::-7]:
        assert same(resumed.batch(*number), batches[number])


@pytest.mark.parametrize("packing", ["stream", "packed"])
def test_micro_batches_and_ranks_only_cut_the_same_rows(packing: str) -> None:
    arguments = {"packing": packing, "pad_id": 999_999}
    one = mixture(micro_batch_size=24, **arguments)
    for cut in ({"num_micro_batches": 24}, {"num_micro_batches": 3, "num_ranks": 2}, {"num_ranks": 8}):
        size = 24 // (cut.get("num_micro_batches", 1) * cut.get("num_ranks", 1))
        many = mixture(micro_batch_size=size, **cut, **arguments)
        for step in (0, 7, 100):
            parts = [
                many.batch(step, micro, rank).target_ids
                for micro in range(many.num_micro_batches)
                for rank in range(many.num_ranks)
            ]
            assert np.array_equal(np.concatenate(parts), one.batch(step).target_ids)


def test_a_mixture_reads_by_weight_and_repeats_nothing_within_an_epoch() -> None:
    loader = mixture()
    num_rows = [part.num_rows for part in loader.windows]
    wanted = np.array([1.0, 6.0, 2.5]) * num_rows
    wanted /= wanted.sum()
    assert loader.shares == pytest.approx(wanted)
    firsts = np.array([row[0] for row in rows(loader, 0, 2000)])
    for corpus, num_in_epoch in enumerate(num_rows):
        mine = firsts[firsts // 100_000 == corpus]
        assert len(mine) / len(firsts) == pytest.approx(wanted[corpus], abs=2 / 1024)
        for epoch in range(len(mine) // num_in_epoch):
            assert len(set(mine[epoch * num_in_epoch : (epoch + 1) * num_in_epoch])) == num_in_epoch
    # Shares hold within every deck, not only on average, and no deck is sorted by corpus.
    deck = firsts[: loader.rows_per_deck] // 100_000
    assert Counter(deck) == pytest.approx(dict(enumerate(wanted * loader.rows_per_deck)), abs=1.001)
    assert np.count_nonzero(np.diff(deck)) > 100


def test_a_rare_source_is_still_dealt_exactly() -> None:
    corpora = [counting(50_000), counting(20, 100_000)]
    loader = Loader(corpora, context=8, micro_batch_size=1000, seed=0, weights=(1.0, 0.01))
    firsts = np.array([row[0] for row in rows(loader, 0, 400)])
    share = 0.01 * loader.windows[1].num_rows / loader.rows_per_epoch
    assert abs(np.count_nonzero(firsts >= 100_000) - share * len(firsts)) <= 2


def test_bytes_of_an_epoch_add_up() -> None:
    corpus = counting(500, end_id=999_999, document_size=7)
    loader = Loader([corpus], context=16, micro_batch_size=1, seed=0, packing="packed", pad_id=999_998)
    batches = [loader.batch(step) for step in range(loader.windows[0].num_rows)]
    assert sum(batch.num_bytes for batch in batches) == pytest.approx(500)
    assert sum(batch.num_scored for batch in batches) == corpus.num_tokens


def test_impossible_loaders_are_refused() -> None:
    corpus = counting(100)
    for corpora, arguments, message in (
        ([], {}, "no corpus"),
        ([corpus], {"weights": (1.0, 2.0)}, "2 weights for 1 corpora"),
        ([corpus], {"weights": (-1.0,)}, "above 0"),
        ([corpus], {"context": 0}, "context is 0"),
        ([corpus], {"micro_batch_size": 0}, "micro_batch_size is 0"),
        ([corpus], {"num_ranks": 0}, "num_ranks is 0"),
        ([corpus], {"seed": -1}, "seed is -1"),
        ([corpus], {"context": 100}, "largest context that would do is 99"),
        ([corpus], {"packing": "packed"}, "pad token"),
        ([corpus], {"packing": "pack", "pad_id": 1}, "Did you mean 'packed'"),
    ):
        settings = {"context": 8, "micro_batch_size": 1, "seed": 0, **arguments}
        with pytest.raises(CutawayError, match=message):
            Loader(corpora, **settings)  # type: ignore[arg-type]
    other = encode_documents(["abc"] * 30, lambda texts: [[1, 2, 3]] * len(texts), end_id=None, vocab_size=5)
    with pytest.raises(CutawayError, match=r"different sizes \(\[5, 1000000\]\)"):
        Loader([corpus, other], context=8, micro_batch_size=1, seed=0)
