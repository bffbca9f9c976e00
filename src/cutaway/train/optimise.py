"""Optimisers and schedules. In: a model and a recipe. Out: torch optimisers, and the learning-rate factor of a step.

AdamW: Loshchilov & Hutter 2019. Muon: Jordan et al. 2024, on matrices inside layers; the rest is left to AdamW.
"""

from __future__ import annotations

import inspect
import math

import torch
from torch import nn
from torch.optim import Optimizer

from ..model import Transformer
from ..model.projection import Projection
from .muon import Muon
from .recipe import OptimiserRecipe, ScheduleRecipe

TAKEN_OUT = "__dynamo_disable"  # where torch keeps a method without the compiler (torch._compile)


class AdamW(torch.optim.AdamW):
    """torch's AdamW, whose step does not import torch's compiler either: see `leave_compiler_out`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimisers(model: Transformer, recipe: OptimiserRecipe) -> list[Optimizer]:
    """AdamW, and Muon behind it where the recipe asks for it; every parameter that is trained is in one group of one of them.

    Frozen ones are in none. A and B of adapters go to AdamW: Muon is for whole matrices, not for factors of one.
    Every group remembers its full rate as `initial_lr`.
    """
    leave_compiler_out()
    inner = layer_matrices(model) if recipe.kind == "muon" else []
    chosen = {id(weight) for weight in inner}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimisers: list[Optimizer] = [
        AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            fused=True,
        )
    ]
    if inner:
        muon = Muon(inner, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay, momentum=recipe.momentum)
        optimisers.append(muon)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def leave_compiler_out() -> None:
    """Let torch's optimisers begin without importing torch's compiler, which takes as long as importing torch.

    They import it only to keep it out of these methods; nothing here compiles a step of training. A method that was already
    taken out by the compiler stays so.
    """
    for name in ("__init__", "add_param_group", "load_state_dict", "state_dict"):
        method = inspect.unwrap(getattr(Optimizer, name))
        vars(method).setdefault(TAKEN_OUT, method)


def layer_matrices(model: Transformer) -> list[nn.Parameter]:
    """The weights of every projection inside a layer that are trained, each once."""
    stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
    found = {id(m.weight): m.weight for stack in stacks for m in stack.layers.modules() if isinstance(m, Projection)}
    return [weight for weight in found.values() if weight.requires_grad]


def factor(step: int, steps: int, recipe: ScheduleRecipe) -> float:
    """The share of the full learning rate at a step from 0 to steps − 1: a linear warm-up, then the recipe's kind."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.kind == "constant":
        return 1.0
    length = steps - recipe.warmup_steps if recipe.kind == "cosine" else max(1, round(steps * recipe.decay_share))
    progress = min(1.0, max(0.0, (step - (steps - length)) / max(1, length)))
    if recipe.kind == "cosine":
        return recipe.final + (1 - recipe.final) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0 - (1 - recipe.final) * progress


def rates(optimisers: list[Optimizer]) -> dict[str, float]:
    """The learning rates as they stand, under the names of the recipe's keys."""
    names = ("learning_rate", "muon_learning_rate")
    return {name: optimiser.param_groups[0]["lr"] for name, optimiser in zip(names, optimisers, strict=False)}


def set_rate(optimisers: list[Optimizer], share: float) -> None:
    """Give every parameter group this share of its full learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * share
