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

WIDE = 2  # times as wide as high: from here on, a matrix is turned by way of its Gram matrix


class Muon(torch.optim.Muon):
    """Momentum, its matrix made nearly orthogonal, decoupled weight decay."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._stacks: dict[torch.Size, tuple[list[int], Tensor]] = {}

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch's, and the state is put together anew."""
        super().load_state_dict(state_dict)
        self._stacks.clear()

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = torch.stack([parameter.grad for parameter in parameters])  # type: ignore[misc]
        momentum = self._momentum(parameters).lerp_(gradients, 1 - group["momentum"])
        moving = gradients.lerp_(momentum, group["momentum"]) if group["nesterov"] else momentum
        turned = orthogonalise(moving, group["ns_coefficients"], group["ns_steps"], group["eps"])
        height, width = parameters[0].shape
        rate = group["lr"] * math.sqrt(max(1.0, height / width))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(turned.to(parameters[0].dtype).unbind()), alpha=-rate)

    def _momentum(self, parameters: list[Tensor]) -> Tensor:
        """The state of matrices of one shape, in one tensor that their entries in `state` look into."""
        shape, names = parameters[0].shape, [id(parameter) for parameter in parameters]
        known, stack = self._stacks.get(shape, (None, None))
        if stack is None or known != names:
            states = [self.state[parameter] for parameter in parameters]
            zeros = torch.zeros_like(parameters[0])
            stack = torch.stack([state.get("momentum_buffer", zeros) for state in states])
            for state, part in zip(states, stack.unbind(), strict=True):
                state["momentum_buffer"] = part
            self._stacks[shape] = names, stack
        return stack


def orthogonalise(matrices: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    """U S' Vᵀ for matrices U S Vᵀ, with S' near 1, by Newton–Schulz steps. matrices: [matrix, row, column] -> the same shape."""
    x = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if is_tall else x
    is_wide = x.shape[2] >= WIDE * x.shape[1] and x.dtype != torch.bfloat16
    x = (_turn_wide if is_wide else _turn)(x, coefficients, num_steps, eps)
    return x.transpose(1, 2) if is_tall else x


def _turn(x: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    a, b, c = coefficients
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    for _ in range(num_steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _turn_wide(x: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    """The same steps on x xᵀ, which stays small and commutes with them: x becomes (p_n … p_2 p_1) x, p_i = a + b g + c g²."""
    a, b, c = coefficients
    size = x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    x = x / size
    gram, turn = x @ x.transpose(1, 2), None
    for step in range(num_steps):
        part = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        part.diagonal(dim1=1, dim2=2).add_(a)
        turn = part if turn is None else part @ turn
        gram = part @ gram @ part if step + 1 < num_steps else gram
    return x if turn is None else turn @ x
