"""Bounds of likelihood on models small enough to try every way: three forms agree, and none is below what it bounds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from cutaway.config import TokenIds
from cutaway.data import Batch
from cutaway.errors import CutawayError
from cutaway.model import Call, Tokens, Transformer, layouts, visibility
from cutaway.train.likelihood import bound, exact_bound, exact_nats, nats_in_order
from tests import tiny

VOCAB, MASK, LENGTH = 4, 0, 4
TEXT = [1, 3, 2, 2]
WAYS = {"whole": {}, "blocks of 2": {"block_size": 2}, "blocks of 1": {"block_size": 1}}
ways = pytest.mark.parametrize("knobs", WAYS.values(), ids=WAYS)


def model(predicts: Any = "masked", **knobs: Any) -> Transformer:
    config = tiny.config(vocab_size=VOCAB, predicts=predicts, tokens=TokenIds(mask=MASK), **knobs)
    return tiny.model(config, dtype=torch.float64)


def said(made: Transformer, text: list[int], hidden: set[int]) -> dict[int, float]:
    """log p of each hidden token of one block, the rest being there: by a pass of its own."""
    size = made.config.block_size or len(text)
    start = min(hidden) // size * size
    end = min(start + size, len(text))
    row = torch.tensor([[MASK if place in hidden else token for place, token in enumerate(text[:end])]])
    tokens = visibility.full(end)
    if made.config.block_size is not None:
        parts = [layouts.blocks(0, start, size), layouts.noised_block(start, end, size)]
        tokens = Tokens(torch.cat([part.fields for part in parts], 2))
    logits = made(row, Call(tokens))[0]
    logits[:, MASK] = -torch.inf  # what is said is always a token
    logits = logits.log_softmax(-1)
    return {place: float(logits[place, text[place]]) for place in hidden}


def by_orders(made: Transformer, text: list[int]) -> tuple[float, float]:
    """The mean over all orders of −log p, and −log of the mean over all orders of p, block by block."""
    size = made.config.block_size or len(text)
    mean = nats = 0.0
    for start in range(0, len(text), size):
        places = range(start, min(start + size, len(text)))
        logs = []
        for order in itertools.permutations(places):
            left, total = set(places), 0.0
            for place in order:
                total += said(made, text, left)[place]
                left.remove(place)
            logs.append(total)
        mean -= sum(logs) / len(logs)
        nats -= math.log(sum(math.exp(each) for each in logs) / len(logs))
    return mean, nats


def by_time(made: Transformer, text: list[int]) -> float:
    """∫ dt (1/t) E[Σ −log p]: for each set of hidden places, ∫ t^(k−1) (1−t)^(n−k) dt, by quadrature."""
    size = made.config.block_size or len(text)
    times, weights = np.polynomial.legendre.leggauss(20)
    times, weights = (times + 1) / 2, weights / 2
    total = 0.0
    for start in range(0, len(text), size):
        places = range(start, min(start + size, len(text)))
        for count in range(1, len(places) + 1):
            chance = float((weights * times ** (count - 1) * (1 - times) ** (len(places) - count)).sum())
            for hidden in itertools.combinations(places, count):
                total -= chance * sum(said(made, text, set(hidden)).values())
    return total


@ways
def test_three_forms_of_the_bound_agree(knobs: dict[str, Any]) -> None:
    """Over sets of hidden places, over orders, and over time."""
    made = model(**knobs)
    found = exact_bound(made, TEXT)
    assert math.isclose(found, by_orders(made, TEXT)[0], abs_tol=1e-9)
    assert math.isclose(found, by_time(made, TEXT), abs_tol=1e-9)


@ways
def test_the_bound_is_not_below_what_it_bounds(knobs: dict[str, Any]) -> None:
    made = model(**knobs)
    for text in itertools.product(range(1, VOCAB), repeat=LENGTH):
        nats = exact_nats(made, text)
        assert exact_bound(made, text) >= nats - 1e-12
    assert math.isclose(exact_nats(made, TEXT), by_orders(made, TEXT)[1], abs_tol=1e-9)


@ways
def test_orders_are_what_bound_and_exact_value_are_means_of(
    knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, size = model(**knobs), knobs.get("block_size", LENGTH)
    monkeypatch.setattr("cutaway.train.likelihood.MOST_PASSES", 3)
    blocks = [itertools.permutations(range(start, start + size)) for start in range(0, LENGTH, size)]
    orders = [list(itertools.chain(*parts)) for parts in itertools.product(*blocks)]
    found = [nats_in_order(made, TEXT, order) for order in orders]
    assert math.isclose(sum(found) / len(found), exact_bound(made, TEXT), abs_tol=1e-9)
    mean = sum(math.exp(-each) for each in found) / len(found)
    assert math.isclose(-math.log(mean), exact_nats(made, TEXT), abs_tol=1e-9)


@ways
def test_what_stands_already_counts_nothing(knobs: dict[str, Any]) -> None:
    made = model(**knobs)
    assert math.isclose(nats_in_order(made, TEXT, [3]), -said(made, TEXT, {3})[3], abs_tol=1e-9)
    assert nats_in_order(made, TEXT, []) == 0


@pytest.mark.parametrize(
    ("knobs", "order", "message"),
    [
        ({}, [0, 4], "some of 0 to 3"),
        ({}, [1, 1], "each once"),
        ({"predicts": "masked_next"}, [0, 1], "some of 1 to 3"),
        ({"block_size": 2}, [0, 2, 1, 3], "one block after the other"),
    ],
)
def test_orders_that_no_decoder_has_are_refused(knobs: dict[str, Any], order: list[int], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        nats_in_order(model(**knobs), TEXT, order)


@ways
def test_the_probabilities_of_all_texts_add_up(knobs: dict[str, Any]) -> None:
    """Σ p(text) = 1 over all texts of one length."""
    made = model(**knobs)
    total = sum(math.exp(-exact_nats(made, text)) for text in itertools.product(range(1, VOCAB), repeat=3))
    assert math.isclose(total, 1, abs_tol=1e-9)


def test_blocks_of_one_token_have_no_slack() -> None:
    """Σ −log p(x_i | x_<i), read at a mask token by separate passes: bound, exact value and draws are all this sum."""
    made = model(block_size=1)
    wanted = -sum(said(made, TEXT[: place + 1], {place})[place] for place in range(LENGTH))
    assert math.isclose(exact_bound(made, TEXT), wanted, abs_tol=1e-9)
    assert math.isclose(exact_nats(made, TEXT), wanted, abs_tol=1e-9)
    found = bound(made, lambda: [batch([TEXT])], draws=2)
    assert math.isclose(found.nats, wanted, abs_tol=1e-4)
    assert found.standard_error < 1e-6


@pytest.mark.parametrize("estimator", ["count", "time"])
@ways
def test_draws_come_close_as_sure_as_they_say(knobs: dict[str, Any], estimator: Any) -> None:
    made = model(**knobs)
    texts = [[1, 3, 2, 2], [3, 3, 1, 2], [2, 1, 1, 1]]
    wanted = sum(exact_bound(made, text) for text in texts)
    found = bound(made, lambda: [batch(texts)], draws=400, estimator=estimator, seed=5)
    assert found.tokens == 12
    assert abs(found.nats - wanted) <= 4 * found.standard_error + 1e-3
    if (
        estimator == "count"
    ):  # weights of 1/t have no bounded variance: by time, a draw now and then makes the error large
        assert found.standard_error < 0.05 * wanted


def test_counting_varies_less_than_time() -> None:
    made = model()
    count, time = (bound(made, lambda: [batch([TEXT])], draws=200, estimator=each) for each in ("count", "time"))  # type: ignore[arg-type]
    assert count.standard_error < 0.8 * time.standard_error


@pytest.mark.parametrize("estimator", ["count", "time"])
@ways
def test_how_texts_are_put_into_batches_changes_nothing(knobs: dict[str, Any], estimator: Any) -> None:
    made, texts = model(**knobs), [[1, 3, 2, 2], [3, 3, 1, 2], [2, 1, 1, 1], [1, 2, 3, 1], [3, 1, 2, 2]]
    found = [
        bound(made, lambda size=size: [batch(texts[at : at + size]) for at in range(0, 5, size)], estimator=estimator)  # type: ignore[misc]
        for size in (1, 2, 5)
    ]
    assert all(math.isclose(each.nats, found[0].nats, rel_tol=1e-5) for each in found)
    assert all(math.isclose(each.standard_error, found[0].standard_error, abs_tol=1e-4) for each in found)


def test_the_standard_error_is_that_of_a_mean_of_draws() -> None:
    """Of two draws a and b it is |a − b| / 2; a seed of any size will do."""
    one, two = (bound(model(), lambda: [batch([TEXT])], draws=draws, seed=2**62) for draws in (1, 2))
    other = 2 * two.nats - one.nats
    assert math.isnan(one.standard_error)
    assert math.isclose(two.standard_error, abs(one.nats - other) / 2, rel_tol=1e-6)
    assert two.standard_error > 0


def test_a_shifted_model_is_given_the_first_token() -> None:
    made = model("masked_next")
    found = bound(made, lambda: [batch([TEXT])], draws=300)
    assert (found.tokens, found.num_bytes) == (LENGTH - 1, LENGTH - 1)
    assert abs(found.nats - exact_bound(made, TEXT)) <= 4 * found.standard_error + 1e-3


def test_what_has_no_bound_is_refused() -> None:
    with pytest.raises(CutawayError, match="its likelihood is exact"):
        exact_bound(tiny.model(tiny.config()), TEXT)
    with pytest.raises(CutawayError, match="2\\^17 ways"):
        exact_bound(model(), [1] * 17)
    with pytest.raises(CutawayError, match="draws is 0"):
        bound(model(), lambda: [batch([TEXT])], draws=0)


def batch(texts: list[list[int]]) -> Batch:
    """Whole texts, every token of which counts."""
    ids = np.array(texts)
    return Batch(
        input_ids=ids,
        target_ids=np.concatenate([ids[:, 1:], ids[:, :1]], 1),
        weights=np.ones(ids.shape, np.float32),
        num_bytes=float(ids.size),
    )
