"""One weighted cross-entropy: equal to its slow twin, exact at known values, in fp32 at least."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cutaway.model import visibility
from cutaway.objectives import Task, cross_entropy


def task(target_ids: Tensor, weights: Tensor | None = None) -> Task:
    return Task(torch.zeros_like(target_ids), visibility.causal(target_ids.shape[1]), target_ids, weights)


def slow(logits: Tensor, target_ids: Tensor, weights: Tensor) -> float:
    """Token by token, by the definition."""
    total = 0.0
    for row, targets, scales in zip(logits.tolist(), target_ids.tolist(), weights.tolist(), strict=True):
        for scores, target, scale in zip(row, targets, scales, strict=True):
            most = max(scores)
            total += scale * (most + math.log(sum(math.exp(score - most) for score in scores)) - scores[target])
    return total


@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 7), st.integers(0, 2**31), st.booleans())
def test_it_equals_its_slow_twin(batch: int, length: int, vocab: int, seed: int, is_weighted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(batch, length, vocab, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, vocab, (batch, length), generator=generator)
    weights = torch.randint(0, 4, (batch, length), generator=generator) / 2 if is_weighted else None
    found = cross_entropy(logits, task(targets, weights))
    assert found.item() == pytest.approx(
        slow(logits, targets, torch.ones(batch, length) if weights is None else weights)
    )


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    assert cross_entropy(torch.zeros(2, 3, 8), task(torch.ones(2, 3, dtype=torch.long))).item() == pytest.approx(
        6 * math.log(8)
    )


def test_ones_are_no_weights() -> None:
    logits, targets = torch.randn(2, 3, 5, dtype=torch.float64), torch.tensor([[0, 1, 2], [3, 4, 0]])
    ones = cross_entropy(logits, task(targets, torch.ones(2, 3)))
    torch.testing.assert_close(ones, cross_entropy(logits, task(targets)), rtol=1e-14, atol=0)


def test_a_token_of_weight_0_has_no_gradient() -> None:
    logits = torch.randn(1, 3, 5, requires_grad=True)
    cross_entropy(logits, task(torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 0.0, 2.0]]))).backward()
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[0, 1]) == 0
    assert torch.count_nonzero(logits.grad[0, 0]) == torch.count_nonzero(logits.grad[0, 2]) == 5


def test_half_precision_is_summed_in_fp32() -> None:
    logits = torch.randn(4, 64, 11).bfloat16()
    targets = torch.randint(0, 11, (4, 64))
    found = cross_entropy(logits, task(targets))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(slow(logits.double(), targets, torch.ones(4, 64)), rel=1e-6)


def test_what_is_scored_is_the_sum_of_the_weights() -> None:
    targets = torch.zeros(2, 3, dtype=torch.long)
    assert task(targets).num_scored == 6
    assert task(targets, torch.tensor([[0.5, 0, 1], [2, 0, 0]])).num_scored == 3.5
