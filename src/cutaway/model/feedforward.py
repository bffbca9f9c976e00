"""Feed-forward layers. In: the residual stream. Out: for each token by itself, a sum of learned directions.

plain: W₂ · f(W₁ x) (Vaswani et al. 2017, eq. 2) · gated: W₂ · (f(W₁ x) ∘ W₃ x) (Shazeer 2020, eq. 6) · experts: a
weighted sum over the few that a router chose (Shazeer et al. 2017, eq. 2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Activation, ExpertsConfig, FeedForwardConfig
from .call import Call
from .projection import Projection

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu_squared": lambda x: F.relu(x).square(),
    "silu": F.silu,
}


class FeedForward(nn.Module):
    """Out to the hidden width, through the activation, and back."""

    def __init__(self, d_model: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[config.activation]
        self.clamp = config.clamp
        self.input = Projection(d_model, config.d_hidden, bias=config.bias)
        self.output = Projection(config.d_hidden, d_model, bias=config.bias)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> [batch, position, d_model]."""
        pre = call.tap("feedforward.pre", limit(self.input(x, call), self.clamp, both=False))
        active = call.tap("feedforward.active", self.activate(pre))
        return self.output(active, call)


class GatedFeedForward(FeedForward):
    """The activated side is a gate on a second projection."""

    def __init__(self, d_model: int, config: FeedForwardConfig) -> None:
        super().__init__(d_model, config)
        self.linear = Projection(d_model, config.d_hidden, bias=config.bias)
        self.gate = gated

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> [batch, position, d_model]."""
        pre = call.tap("feedforward.pre", limit(self.input(x, call), self.clamp, both=False))
        linear = limit(self.linear(x, call), self.clamp, both=True)
        active = call.tap("feedforward.active", self.gate(self.activate, pre, linear))
        return self.output(active, call)


def gated(activate: Callable[[Tensor], Tensor], pre: Tensor, linear: Tensor) -> Tensor:
    """The activated side times the other, number by number."""
    return activate(pre) * linear


class Experts(nn.Module):
    """Several feed-forward networks, of which each token uses the few that the router finds most likely.

    `pre` and `active` have no site here: each expert sees other tokens.
    """

    def __init__(self, d_model: int, config: FeedForwardConfig, knobs: ExpertsConfig) -> None:
        super().__init__()
        kind = GatedFeedForward if config.is_gated else FeedForward
        self.knobs = knobs
        self.router = Projection(d_model, knobs.num_experts, bias=False)
        self.experts = nn.ModuleList(kind(d_model, config) for _ in range(knobs.num_experts))

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> [batch, position, d_model]; site router: [batch, position, expert]."""
        chances = call.tap("feedforward.router", torch.softmax(self.router(x, call).float(), dim=-1).to(x.dtype))
        weights, chosen = chances.topk(self.knobs.num_active, dim=-1)
        if self.knobs.renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        return route(self.experts, x, chosen, weights, call)


def route(experts: nn.ModuleList, x: Tensor, chosen: Tensor, weights: Tensor, call: Call) -> Tensor:
    """Each expert on its own tokens, readable. chosen, weights: [batch, position, active] -> [batch, position, d_model]."""
    flat, mixed = x.flatten(0, 1), torch.zeros_like(x).flatten(0, 1)
    chosen, weights = chosen.flatten(0, 1), weights.flatten(0, 1)
    for index, expert in enumerate(experts):
        token, place = (chosen == index).nonzero(as_tuple=True)
        gates = {name: gate.expand(x.shape[:2]).flatten()[token].unsqueeze(0) for name, gate in call.gates.items()}
        part = expert(flat[token].unsqueeze(0), Call(call.tokens, gates=gates)).squeeze(0)
        mixed = mixed.index_add(0, token, part * weights[token, place].unsqueeze(-1))
    return mixed.unflatten(0, x.shape[:2])


def make_feedforward(d_model: int, config: FeedForwardConfig) -> nn.Module:
    """The feed-forward layer that the config names."""
    if config.experts is not None:
        return Experts(d_model, config, config.experts)
    return GatedFeedForward(d_model, config) if config.is_gated else FeedForward(d_model, config)


def limit(x: Tensor, clamp: float | None, *, both: bool) -> Tensor:
    """x held below `clamp`, and above −clamp where both sides are limited; unchanged for None."""
    if clamp is None:
        return x
    return x.clamp(min=-clamp if both else None, max=clamp)
