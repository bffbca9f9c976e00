"""Our Muon against torch's: the same matrices, within what bfloat16 leaves of a product."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cutaway.train.muon import Muon, _turn, _turn_wide, orthogonalise

SHAPES = ((8, 8), (24, 8), (8, 24), (8, 8), (8, 12))
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


def test_it_goes_on_from_a_saved_state_and_without_a_gradient_bit_for_bit() -> None:
    """Its state lies together in memory; loading, and a matrix that sits a step out, take it apart."""
    ours = matrices(1)
    optimiser = Muon(ours, lr=0.1)
    for step in range(5):
        for parameter, gradient in zip(ours, matrices(step + 2), strict=True):
            parameter.grad = gradient.detach()
        if step in (1, 3):
            ours[3].grad = None
        if step == 2:
            theirs = copy.deepcopy(ours)
            other = Muon(theirs, lr=0.1)
            other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
        optimiser.step()
        if step >= 2:
            for parameter, one in zip(theirs, ours, strict=True):
                parameter.grad = one.grad
            other.step()
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_a_wide_matrix_is_turned_as_any_other() -> None:
    shape = torch.logspace(0, -5, 16).diag_embed() @ torch.randn(3, 16, 16)
    wide = shape @ torch.linalg.qr(torch.randn(3, 40, 16))[0].transpose(1, 2)
    exact = _turn(wide.double(), COEFFICIENTS, 5, 1e-7)
    for turned in (_turn(wide, COEFFICIENTS, 5, 1e-7), _turn_wide(wide, COEFFICIENTS, 5, 1e-7)):
        assert (turned - exact).abs().max() < 1e-4 * exact.abs().max()


def test_a_matrix_without_a_gradient_stays() -> None:
    ours = matrices(1)
    ours[0].grad = torch.ones_like(ours[0])
    before = [parameter.detach().clone() for parameter in ours]
    Muon(ours, lr=0.1).step()
    assert [torch.equal(old, new) for old, new in zip(before, ours, strict=True)] == [False, True, True, True, True]


def test_singular_values_come_near_one() -> None:
    stack = torch.stack([matrix.detach() for matrix in matrices(3) if matrix.shape == (8, 8)])
    values = torch.linalg.svdvals(orthogonalise(stack, COEFFICIENTS, 5, 1e-7))
    assert values.min() > 0.3
    assert values.max() < 1.3
