"""Our Muon against torch's: the same matrices, within what bfloat16 leaves of a product."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cutaway.train.muon import Muon, orthogonalise

SHAPES = ((8, 8), (24, 8), (8, 24), (8, 8))
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def matrices(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


@pytest.mark.parametrize("nesterov", [True, False])
def test_it_moves_as_torch_does(nesterov: bool) -> None:
    ours, theirs = matrices(1), matrices(1)
    settings = {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "nesterov": nesterov}
    one, other = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for step in range(3):
        for left, right, gradient in zip(ours, theirs, matrices(step + 2), strict=True):
            left.grad, right.grad = gradient.detach().clone(), gradient.detach().clone()
        one.step()
        other.step()
    for left, right, start in zip(ours, theirs, matrices(1), strict=True):
        assert (left - right).norm() < 0.02 * (right - start).norm()
    states = [optimiser.state_dict()["state"] for optimiser in (one, other)]
    for index in range(len(SHAPES)):
        torch.testing.assert_close(states[0][index], states[1][index])


def test_its_state_goes_on_in_torchs() -> None:
    ours = matrices(1)
    optimiser = Muon(ours, lr=0.1)
    for parameter in ours:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    other = torch.optim.Muon(copy.deepcopy(ours), lr=0.1)
    other.load_state_dict(optimiser.state_dict())
    assert len(other.state_dict()["state"]) == len(SHAPES)


def test_a_matrix_without_a_gradient_stays() -> None:
    ours = matrices(1)
    ours[0].grad = torch.ones_like(ours[0])
    before = [parameter.detach().clone() for parameter in ours]
    Muon(ours, lr=0.1).step()
    assert [torch.equal(old, new) for old, new in zip(before, ours, strict=True)] == [False, True, True, True]


def test_singular_values_come_near_one() -> None:
    stack = torch.stack([matrix.detach() for matrix in matrices(3) if matrix.shape == (8, 8)])
    values = torch.linalg.svdvals(orthogonalise(stack, COEFFICIENTS, 5, 1e-7))
    assert values.min() > 0.3
    assert values.max() < 1.3
