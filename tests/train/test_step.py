"""One step: accumulation is exact on ragged data, divergence is said, gradients are clipped, seeds are apart."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cutaway.errors import CutawayError
from cutaway.model import Transformer, initialise
from cutaway.objectives import Task, causal
from cutaway.train.optimise import make_optimisers
from cutaway.train.recipe import OptimiserRecipe
from cutaway.train.step import accumulate, gradient_step, micro_seed
from tests import tiny
from tests.objectives import batches


def model(dtype: torch.dtype = torch.float64) -> Transformer:
    return initialise(Transformer(tiny.config()), torch.Generator().manual_seed(1), std=0.3).to(dtype)


def tasks(num_micro: int, num_rows: int = 32) -> list[Task]:
    """The same ragged, weighted rows in this many micro-batches."""
    whole, size = batches.packed(num_rows), num_rows // num_micro
    return [causal(batches.rows(whole, start, start + size)) for start in range(0, num_rows, size)]


def gradients(made: Transformer, micro: list[Task]) -> tuple[float, list[Tensor]]:
    loss = accumulate(made, micro, precision="fp32", seeds=list(range(len(micro))))
    found = [parameter.grad for parameter in made.parameters()]
    made.zero_grad(set_to_none=True)
    return loss, [gradient.clone() for gradient in found if gradient is not None]


@pytest.mark.parametrize("num_micro", [2, 8, 32])
def test_one_batch_equals_many(num_micro: int) -> None:
    made = model()
    whole, parts = tasks(1), tasks(num_micro)
    assert len({part.num_scored for part in parts}) > 1, "equal parts prove nothing"
    loss, expected = gradients(made, whole)
    other_loss, found = gradients(made, parts)
    assert other_loss == pytest.approx(loss, rel=1e-14)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14 * max(1.0, one.abs().max().item()))


def test_the_mean_of_means_would_differ() -> None:
    """The invariant above can fail: dividing each micro-batch by its own count gives another loss."""
    made, parts = model(), tasks(8)
    loss, _ = gradients(made, parts)
    means = [gradients(made, [part])[0] for part in parts]
    assert sum(means) / len(means) != pytest.approx(loss, rel=1e-6)


def test_the_loss_is_the_mean_over_scored_tokens() -> None:
    made, (whole,) = model(), tasks(1)
    loss, _ = gradients(made, [whole])
    assert whole.weights is not None
    doubled = replace(whole, weights=2 * whole.weights)
    assert gradients(made, [doubled])[0] == pytest.approx(loss, rel=1e-14)


def step(made: Transformer, micro: list[Task], *, clip: float | None = None, rate: float = 0.1) -> tuple[float, float]:
    optimisers = make_optimisers(made, OptimiserRecipe(learning_rate=rate, weight_decay=0.0))
    return gradient_step(made, micro, optimisers, clip=clip, precision="fp32", seeds=[0] * len(micro))


def test_a_step_improves_and_leaves_no_gradient() -> None:
    made, micro = model(), tasks(2)
    before, _ = step(made, micro, rate=0.001)
    after, _ = gradients(made, micro)
    assert after < before
    assert all(parameter.grad is None for parameter in made.parameters())


def test_the_norm_is_that_of_the_unclipped_gradient() -> None:
    made, micro = model(), tasks(1)
    _, found = gradients(copy.deepcopy(made), micro)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in found))
    for clip in (None, math.inf, 1e-3):
        assert step(copy.deepcopy(made), micro, clip=clip)[1] == pytest.approx(norm)


def test_clipping_shortens_the_gradient_to_its_bound() -> None:
    made, micro = model(), tasks(1)
    plain = torch.optim.SGD(made.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in made.parameters()]
    gradient_step(made, micro, [plain], clip=0.01, precision="fp32", seeds=[0])
    moved = sum(float((a - b.detach()).square().sum()) for a, b in zip(before, made.parameters(), strict=True))
    assert math.sqrt(moved) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_divergence_is_said_and_changes_nothing(number: float) -> None:
    made, micro = model(), tasks(1)
    with torch.no_grad():
        made.token.weight[3] = number
    before = [parameter.detach().clone() for parameter in made.parameters()]
    with pytest.raises(CutawayError, match=r"Training diverged: the loss became .*lower optimiser\.learning_rate"):
        step(made, micro)
    assert all(
        torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(before, made.parameters(), strict=True)
    )


def test_bf16_multiplies_in_half_and_keeps_fp32_weights() -> None:
    made, micro = model(torch.float32), tasks(1)
    exact = accumulate(made, micro, precision="fp32", seeds=[0])
    made.zero_grad(set_to_none=True)
    mixed = accumulate(made, micro, precision="bf16", seeds=[0])
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=0.02)
    assert {parameter.grad.dtype for parameter in made.parameters() if parameter.grad is not None} == {torch.float32}


def test_every_micro_batch_has_a_seed_of_its_own() -> None:
    seeds = {
        micro_seed(*key) for key in ((a, b, c, d) for a in range(4) for b in range(8) for c in range(4) for d in (0, 1))
    }
    assert len(seeds) == 4 * 8 * 4 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert micro_seed(1, 2, 3) == micro_seed(1, 2, 3)


def test_torch_is_seeded_before_each_micro_batch() -> None:
    made, micro = model(), tasks(2)
    accumulate(made, micro, precision="fp32", seeds=[5, 6])
    after = torch.rand(3)
    torch.manual_seed(6)
    assert torch.equal(after, torch.rand(3))
