"""A mixture of experts, densely: every expert on every token. Slow twin of `cutaway.model.feedforward.Experts`."""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.model import Call
from cutaway.model.feedforward import Experts


def mixture(layer: Experts, x: Tensor, call: Call) -> Tensor:
    """Shazeer et al. 2017, eq. 2: Σ gate · expert(x), the gate zero but for the few largest. x: [batch, position, d_model]."""
    chances = torch.softmax(x @ layer.router.weight.T, dim=-1)
    least = chances.sort(dim=-1, descending=True).values[..., layer.knobs.num_active - 1 : layer.knobs.num_active]
    gates = torch.where(chances >= least, chances, torch.zeros_like(chances))
    if layer.knobs.renormalise:
        gates = gates / gates.sum(-1, keepdim=True)
    parts = [gates[..., index : index + 1] * expert(x, call) for index, expert in enumerate(layer.experts)]
    return torch.stack(parts).sum(0)
