"""Feed-forward layers against their formulas; experts against the dense mixture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.config import ExpertsConfig, FeedForwardConfig
from cutaway.model import Call, visibility
from cutaway.model.feedforward import Experts, make_feedforward
from cutaway.model.projection import Projection
from tests.reference.experts import mixture

X = torch.randn(2, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
CALL = Call(visibility.causal(7))


def make(**knobs: Any) -> nn.Module:
    layer = make_feedforward(8, FeedForwardConfig(d_hidden=12, **knobs)).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    return layer.requires_grad_(False)


def linear(x: Tensor, layer: Projection) -> Tensor:
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("relu", lambda x: x * (x > 0)),
        ("relu_squared", lambda x: (x * (x > 0)) ** 2),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
    ],
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_activations(name: str, formula: Any, has_bias: bool) -> None:
    plain = make(activation=name, bias=has_bias)
    torch.testing.assert_close(plain(X, CALL), linear(formula(linear(X, plain.input)), plain.output))
    gated = make(activation=name, bias=has_bias, is_gated=True)
    want = linear(formula(linear(X, gated.input)) * linear(X, gated.linear), gated.output)
    torch.testing.assert_close(gated(X, CALL), want)


def test_the_clamp_holds_the_gate_from_above_and_the_rest_on_both_sides() -> None:
    layer = make(activation="silu", is_gated=True, clamp=0.5)
    gate, rest = linear(X, layer.input).clamp(max=0.5), linear(X, layer.linear).clamp(-0.5, 0.5)
    torch.testing.assert_close(layer(X, CALL), linear(F.silu(gate) * rest, layer.output))


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("num_experts", "num_active"), [(4, 1), (4, 2), (3, 3)])
def test_experts_equal_the_dense_mixture(num_experts: int, num_active: int, renormalise: bool, is_gated: bool) -> None:
    knobs = ExpertsConfig(num_experts=num_experts, num_active=num_active, renormalise=renormalise)
    layer = make(is_gated=is_gated, experts=knobs)
    assert isinstance(layer, Experts)
    want = mixture(layer, X, CALL)
    torch.testing.assert_close(layer(X, CALL), want, rtol=1e-6, atol=1e-6)  # the router's softmax is fp32
    chosen = torch.softmax(layer.router(X, CALL), -1).argmax(-1)
    assert chosen.unique().numel() > 1, "the router must tell tokens apart"


def test_gates_follow_their_tokens_to_the_experts() -> None:
    """A replacement that reads a gate [batch, position] sees, in an expert, the gates of the tokens routed there."""

    class Gated(Projection):
        def forward(self, x: Tensor, call: Call) -> Tensor:
            return super().forward(x, call) * call.gates["on"].unsqueeze(-1)

    layer = make(experts=ExpertsConfig(num_experts=3, num_active=2), bias=False)
    want = layer(X, CALL)
    for expert in layer.experts:
        gated = Gated(12, 8, bias=False).double()
        gated.weight = expert.output.weight
        expert.output = gated
    gates = (torch.arange(14).view(2, 7) % 3 == 0).double()
    got = layer(X, Call(CALL.tokens, gates={"on": gates}))
    torch.testing.assert_close(got, want * gates.unsqueeze(-1))
    row_product = layer(X, Call(CALL.tokens, gates={"on": gates[:1]}))
    torch.testing.assert_close(row_product, want * gates[:1].unsqueeze(-1))
