"""Samplers: equal to the reference's processors, ties included; drawn exactly as the distribution says; without state."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cutaway.decode import Sampling, choose, distribution, uniform
from cutaway.decode.samplers import draw, min_p, repetition_penalty, temperature, top_k, top_p
from cutaway.errors import CutawayError


def random_logits(rows: int, vocab_size: int, seed: int, *, has_ties: bool) -> Tensor:
    """Spread like a model's; with ties: rounded to quarters, so that many are equal."""
    logits = 3 * torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(seed))
    return (logits * 4).round() / 4 if has_ties else logits


def reference(sampling: Sampling) -> list[LogitsProcessor]:
    """The reference's chain, in the order of its `generate`."""
    chain: list[LogitsProcessor] = []
    if sampling.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature != 1.0:
        chain.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        chain.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p is not None:
        chain.append(MinPLogitsWarper(sampling.min_p))
    return chain


def in_order(values: Tensor, *, has_ties: bool) -> Tensor:
    """Which of equal tokens the reference's top-p keeps is not defined (its sort is unstable), but how many of them is."""
    return values.sort(-1).values if has_ties else values


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    top_k=st.sampled_from([None, 1, 5, 40, 10_000]),
    top_p=st.sampled_from([None, 0.02, 0.37, 0.61, 0.913, 0.9983]),
    min_p=st.sampled_from([None, 0.0131, 0.21, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 0.8, 1.3]),
)


@settings(max_examples=150, deadline=None)
@given(SAMPLINGS, st.sampled_from([1, 2, 50, 700, 3000]), st.booleans(), st.integers(0, 10_000))
def test_distributions_equal_the_reference(sampling: Sampling, vocab_size: int, has_ties: bool, seed: int) -> None:
    logits = random_logits(3, vocab_size, seed, has_ties=has_ties)
    ids = torch.randint(0, vocab_size, (3, 20), generator=torch.Generator().manual_seed(seed + 1))
    scores = logits.clone()
    for process in reference(sampling):
        scores = process(ids, scores)
    got, want = distribution(logits, ids, sampling), scores.softmax(-1)
    assert torch.equal(*(in_order(one, has_ties=has_ties) > 0 for one in (got, want)))
    torch.testing.assert_close(*(in_order(one, has_ties=has_ties) for one in (got, want)), rtol=1e-6, atol=0)
    rows = [distribution(row, seen.tolist(), sampling) for row, seen in zip(logits, ids, strict=True)]
    torch.testing.assert_close(torch.stack(rows), got, rtol=1e-6, atol=0)


@settings(max_examples=100, deadline=None)
@given(SAMPLINGS, st.sampled_from([1, 50, 700]), st.booleans(), st.integers(0, 10_000))
def test_a_chosen_token_is_drawn_from_the_distribution(
    sampling: Sampling, vocab_size: int, has_ties: bool, position: int
) -> None:
    logits = random_logits(1, vocab_size, position, has_ties=has_ties)[0]
    ids = torch.randint(0, vocab_size, (20,), generator=torch.Generator().manual_seed(position)).tolist()
    probabilities = distribution(logits, ids, sampling)
    token, probability = choose(logits, ids, sampling, 2, position)
    assert token == draw(probabilities, uniform(sampling.seed, 2, position))
    assert probability == pytest.approx(float(probabilities[token]), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.integers(0, 10_000), st.floats(0.05, 0.97))
def test_each_filter_equals_the_reference(has_ties: bool, seed: int, p: float) -> None:
    logits = random_logits(4, 300, seed, has_ties=has_ties)
    ids = torch.randint(0, 300, (4, 30), generator=torch.Generator().manual_seed(seed))
    pairs = [
        (repetition_penalty(logits, ids, 1.2), RepetitionPenaltyLogitsProcessor(1.2)),
        (temperature(logits, 0.6), TemperatureLogitsWarper(0.6)),
        (top_k(logits, 11), TopKLogitsWarper(11)),
        (top_p(logits, p), TopPLogitsWarper(p)),
        (min_p(logits, p), MinPLogitsWarper(p)),
    ]
    before = logits.clone()
    for got, process in pairs:
        want = process(ids, logits.clone())
        assert torch.equal(*(in_order(one, has_ties=has_ties) for one in (got, want)))
    assert torch.equal(logits, before), "samplers are pure"


def test_the_token_that_crosses_p_is_kept() -> None:
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    for p, kept in ((0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)):
        assert int((top_p(logits, p) > -math.inf).sum()) == kept


def test_of_equals_at_the_border_the_lowest_ids_stay() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.5, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]).log()
    assert (top_p(logits, 0.85) > -math.inf).tolist() == [[True, True, True, True, False], [True] * 5]
    assert (top_p(logits, 0.75) > -math.inf).tolist() == [[True, True, True, False, False], [True] * 4 + [False]]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9999])
def test_a_flat_distribution_needs_the_whole_sort(p: float) -> None:
    logits = 1e-3 * random_logits(2, 5000, 1, has_ties=False)
    assert torch.equal(top_p(logits, p), TopPLogitsWarper(p)(torch.zeros(2, 0, dtype=torch.long), logits))


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    logits = torch.tensor([1.0, 3.0, 0.0, 3.0])
    greedy = Sampling(temperature=0.0)
    assert choose(logits, [], greedy, 0, 0) == (1, pytest.approx(float(logits.softmax(-1)[1])))
    assert distribution(logits, [], greedy).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_greedy_obeys_the_penalty() -> None:
    logits = torch.tensor([2.0, 1.9, -1.0])
    assert choose(logits, [0, 0], Sampling(temperature=0.0, repetition_penalty=1.5), 0, 0)[0] == 1


def test_half_precision_logits_are_widened() -> None:
    logits = random_logits(1, 50, 2, has_ties=False)[0].bfloat16()
    sampling = Sampling(temperature=0.7, top_p=0.9)
    assert torch.equal(distribution(logits, [], sampling), distribution(logits.float(), [], sampling))


@pytest.mark.parametrize("degree", [1e-6, 1e-3])
def test_a_tiny_temperature_is_nearly_greedy(degree: float) -> None:
    logits = random_logits(1, 500, 3, has_ties=False)[0] * 50
    probabilities = distribution(logits, [], Sampling(temperature=degree, top_p=0.9, min_p=0.1))
    assert float(probabilities[logits.argmax()]) == 1.0


@pytest.mark.parametrize("u_count", [1000])
def test_drawing_is_the_inverse_of_the_cumulative_distribution(u_count: int) -> None:
    weights = [0, 3, 0, 0, 5, 1, 991, 0]
    probabilities = torch.tensor(weights).float() / u_count
    counts = Counter(draw(probabilities, (i + 0.5) / u_count) for i in range(u_count))
    assert counts == {token: weight for token, weight in enumerate(weights) if weight}


@given(st.lists(st.sampled_from([0.0, 1e-30, 0.1, 0.3, 1.0]), min_size=1, max_size=20).filter(any))
def test_no_impossible_token_is_drawn(weights: list[float]) -> None:
    for u in (0.0, 0.5, 1 - 2.0**-53):
        assert weights[draw(torch.tensor(weights), u)] > 0


def test_seeded_tokens_follow_the_distribution() -> None:
    logits, num_draws = torch.tensor([1.0, 0.0, -0.5, 2.0, 0.3]), 4000
    sampling = Sampling(temperature=1.3, top_k=4, seed=11)
    probabilities = distribution(logits, [], sampling)
    counts = Counter(choose(logits, [], sampling, i % 4, i // 4)[0] for i in range(num_draws))
    assert counts[2] == 0
    wanted = probabilities[probabilities > 0].double() * num_draws
    got = torch.tensor([counts[token] for token in (0, 1, 3, 4)]).double()
    assert float(((got - wanted) ** 2 / wanted).sum()) < 16.27, "χ², 3 degrees of freedom, p = 0.001"


def test_randomness_depends_on_nothing_but_its_keys() -> None:
    keys = [
        (seed, request, position, index)
        for seed in (0, 1, 2**64 - 1)
        for request in range(4)
        for position in range(50)
        for index in range(2)
    ]
    forward = {key: uniform(*key) for key in keys}
    backward = {key: uniform(*key) for key in reversed(keys)}
    assert forward == backward
    assert len(set(forward.values())) == len(keys)
    assert all(0 <= u < 1 for u in forward.values())


def test_neighbouring_keys_give_independent_uniform_numbers() -> None:
    numbers = np.array([[uniform(5, request, position) for position in range(64)] for request in range(64)])
    counts, _ = np.histogram(numbers, bins=16, range=(0, 1))
    assert float(((counts - 256) ** 2 / 256).sum()) < 37.7, "χ², 15 degrees of freedom, p = 0.001"
    for ours, next_ones in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):
        assert abs(np.corrcoef(ours.ravel(), next_ones.ravel())[0, 1]) < 0.06


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10, written out: Salmon et al. 2011, §3.3."""
    ones = 2**64 - 1
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(right >> 64) ^ counter[1] ^ key[0], right & ones, (left >> 64) ^ counter[3] ^ key[1], left & ones]
        key = [(key[0] + 0x9E3779B97F4A7C15) & ones, (key[1] + 0xBB67AE8584CAA73B) & ones]
    return counter


def test_the_written_out_generator_gives_the_published_answer() -> None:
    answer = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([0] * 4, [0] * 2) == answer, "known-answer test of Random123"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 9))
def test_uniform_equals_the_written_out_generator(seed: int, request: int, position: int, index: int) -> None:
    bits = philox([index + 1, position, 0, 0], [seed, request])[0]
    assert uniform(seed, request, position, index) == (bits >> 11) / 2**53


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1. Allowed: 0 \\(greedy\\)"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": 1e-9}, "temperature is 1e-09"),
        ({"top_k": 0}, "top_k is 0. Allowed: 1 and more"),
        ({"top_p": 0.0}, "top_p is 0.0. Allowed: above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1. Allowed: from 0 to 1"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0. Allowed: above 0"),
        ({"seed": -1}, "seed is -1. Allowed: whole numbers"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
    ],
)
def test_bad_sampling_values_are_refused(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        Sampling(**knobs)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.0), Sampling(), Sampling(top_k=2), Sampling(top_p=0.5), Sampling(min_p=0.1)]
)
def test_logits_that_are_not_numbers_are_refused(bad: float, sampling: Sampling) -> None:
    with pytest.raises(CutawayError, match="not numbers"):
        choose(torch.tensor([0.0, bad, 1.0]), [], sampling, 0, 5)
