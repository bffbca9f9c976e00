"""Activations natively: which of them the kernels know, and GELU with its gradient. In: fp32. Out: the same, sooner.

Slow twin of `gelu_tanh`: torch's own, which also takes whatever the kernel does not: other types and devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..config import Activation
from ..model.feedforward import ACTIVATIONS
from . import ops

SMALL = 2**14  # numbers: below, a call costs more than it saves
NAMES: tuple[Activation, ...] = ("gelu", "gelu_tanh", "relu", "relu_squared", "silu")  # in the order of one.h


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh, of any shape. Slow twin: F.gelu(x, approximate="tanh")."""
    if x.numel() < SMALL or not ops.takes(x, x):
        return F.gelu(x, approximate="tanh")
    active: Tensor = _Gelu.apply(x)
    return active


KINDS: dict[Callable[[Tensor], Tensor], int] = {
    **{ACTIVATIONS[name]: kind for kind, name in enumerate(NAMES)},
    gelu_tanh: NAMES.index("gelu_tanh"),
}


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        return ops.gelu_tanh(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return ops.gelu_tanh_by_input(d_out, x)
