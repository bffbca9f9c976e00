"""The feed-forward layer of one token. In: the trace of a pass. Out: the units that write most, and toward which words.

A feed-forward layer adds Σ aᵢ · wᵢ (+ bias): each hidden unit i writes its learned direction wᵢ, as strongly as its activation
aᵢ (Geva et al. 2021). Strength is |aᵢ| · |wᵢ|. The words that a unit pushes are those whose rows of the head have the largest
(toward) or smallest (away) product with aᵢ · wᵢ, the final norm left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import Call, Transformer
from ..model import visibility as visible
from ..model.feedforward import FeedForward
from ..model.transformer import Stack
from .trace import Trace
from .words import Words

NUM_PUSHED = 3
AT_ONCE = 1024  # units that are asked for together


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One hidden unit. before, active: its value before and after the activation; strength: the length of what it writes."""

    index: int
    before: float
    active: float
    strength: float
    toward: tuple[str, ...]
    away: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Expert:
    """One of the networks among which a router chooses. chance: what the router gives it."""

    index: int
    chance: float


@dataclass(frozen=True, kw_only=True)
class Units:
    """One feed-forward layer for the token looked at.

    num_units: the hidden width; num_firing: units whose value before the activation is above 0. units: the strongest.
    experts: the likeliest of a mixture, whose units have no site; then units is empty.
    """

    layer: int
    num_units: int
    num_firing: int
    units: tuple[Unit, ...]
    experts: tuple[Expert, ...]


@torch.inference_mode()
def units_of(model: Transformer, trace: Trace, words: Words, layer: int, position: int, count: int) -> Units:
    """The strongest units of a layer for one token; the likeliest experts where the layer has some."""
    stack, prefix = model.main.config, f"layers.{layer}.feedforward"
    num_units = stack.feedforward.d_hidden
    if f"{prefix}.router" in trace:
        chances = trace[f"{prefix}.router"][0, position].double()
        best, ids = chances.topk(min(count, len(chances)))
        experts = tuple(Expert(index=i, chance=c) for i, c in zip(ids.tolist(), best.tolist(), strict=True))
        return Units(layer=layer, num_units=num_units, num_firing=0, units=(), experts=experts)
    network = network_of(model.main, layer)
    assert network is not None, "without a router there are no experts"
    before, active = (trace[f"{prefix}.{site}"][0, position] for site in ("pre", "active"))
    strengths = active.double().abs() * lengths(network, num_units, active)
    best, ids = strengths.topk(min(count, num_units))
    units = [
        _unit(model, words, int(i), float(before[i]), float(active[i]), float(strength), active[i] * row)
        for strength, i, row in zip(best, ids, directions(network, ids, num_units, active), strict=True)
    ]
    return Units(layer=layer, num_units=num_units, num_firing=int((before > 0).sum()), units=tuple(units), experts=())


def network_of(stack: Stack, layer: int) -> FeedForward | None:
    """The feed-forward network of a layer, None where experts stand in its place."""
    block = stack.layers[layer % stack.config.num_distinct]
    if stack.config.feedforward.experts is not None:
        return None
    return next(module for module in block.modules() if isinstance(module, FeedForward))


def directions(network: FeedForward, units: Tensor, num_units: int, like: Tensor) -> Tensor:
    """What units of activation 1 write, of num_units: [position, d_model], a row each. Asks the projection, whatever it is.

    units: their indices; like: has the device and the type.
    """
    ones = like.new_zeros(len(units) + 1, num_units)
    ones[torch.arange(1, len(units) + 1, device=like.device), units.to(like.device)] = 1.0
    call = Call(visible.full(len(ones), device=like.device))
    written: Tensor = network.output(ones.unsqueeze(0), call)[0]
    return written[1:] - written[0]


def lengths(network: FeedForward, num_units: int, like: Tensor) -> Tensor:
    """The lengths of what all units of activation 1 write, some at a time: [d_hidden] float64."""
    parts = torch.arange(num_units).split(AT_ONCE)
    return torch.cat([directions(network, part, num_units, like).double().norm(dim=-1) for part in parts])


def pushed(model: Transformer, words: Words, written: Tensor, count: int) -> tuple[list[int], list[int]]:
    """The words that a vector in the stream pushes most: those it makes likelier, and those it makes less likely.

    written: [d_model]. The final norm is left out.
    """
    assert model.head is not None, "what has no head pushes no words"
    one = Call(visible.full(2, device=written.device))
    pair = model.head.projection(torch.stack((written, torch.zeros_like(written))).unsqueeze(0), one)[0]
    pushes = (pair[0] - pair[1]).double()
    is_word = words.are_words()[: len(pushes)].to(written.device)  # what has no row of the head is pushed by nothing
    count = min(count, int(is_word.sum()))
    toward: list[int] = pushes.masked_fill(~is_word, -torch.inf).topk(count).indices.tolist()
    away: list[int] = (-pushes).masked_fill(~is_word, -torch.inf).topk(count).indices.tolist()
    return toward, away


def _unit(
    model: Transformer, words: Words, index: int, before: float, active: float, strength: float, written: Tensor
) -> Unit:
    toward, away = pushed(model, words, written, NUM_PUSHED)
    return Unit(
        index=index,
        before=before,
        active=active,
        strength=strength,
        toward=tuple(map(words.text, toward)),
        away=tuple(map(words.text, away)),
    )
