"""Muon (Jordan et al. 2024), as torch has it, with products that a processor does well. In: gradients. Out: updated matrices.

torch multiplies in bfloat16, which a processor without such instructions does ten times slower than fp32; on processors this
one uses fp32, and it takes matrices of one shape together. Slow twin: `torch.optim.Muon`, whose settings and state it shares.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """Momentum, its matrix made nearly orthogonal, decoupled weight decay."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None, "the loss was already differentiated"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = torch.stack([parameter.grad for parameter in parameters])  # type: ignore[misc]
        kept = [self._momentum(parameter) for parameter in parameters]
        torch._foreach_lerp_(kept, list(gradients.unbind()), 1 - group["momentum"])
        moving = torch.stack(kept)
        if group["nesterov"]:
            moving = gradients.lerp_(moving, group["momentum"])
        turned = orthogonalise(moving, group["ns_coefficients"], group["ns_steps"], group["eps"])
        height, width = parameters[0].shape
        rate = group["lr"] * math.sqrt(max(1.0, height / width))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(turned.to(parameters[0].dtype).unbind()), alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalise(matrices: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    """U S' Vᵀ for matrices U S Vᵀ, with S' near 1, by Newton–Schulz steps. matrices: [matrix, row, column] -> the same shape."""
    a, b, c = coefficients
    x = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if is_tall else x
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    for _ in range(num_steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if is_tall else x
