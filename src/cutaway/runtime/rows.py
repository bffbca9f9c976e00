"""What many tokens go through between products, natively: RMS norms, gates, rotary positions. In: fp32. Out: the same.

Each is one pass over memory where torch makes several. `accelerate` puts them into a model. Slow twins: `RmsNorm`, `gated` and
`rotate` of the model, which also take whatever these do not: gradients, other types and devices.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..model.feedforward import gated
from ..model.norm import RmsNorm
from ..model.position import rotate
from . import ops
from .activation import KINDS

SMALL = 2**12  # numbers: below, a call costs more than it saves


class NativeRmsNorm(RmsNorm):
    """A norm by the native kernel, over the weight of the one that it replaces."""

    def __init__(self, original: RmsNorm) -> None:
        torch.nn.Module.__init__(self)
        self.eps, self.offset, self.weight = original.eps, original.offset, original.weight

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., width] -> the same shape."""
        return ops.rms_norm(x, self.weight, self.offset, self.eps) if serves(x, self.weight) else super().forward(x)


def gate(activate: Callable[[Tensor], Tensor], pre: Tensor, linear: Tensor) -> Tensor:
    """f(pre) · linear. Slow twin: `model.feedforward.gated`."""
    kind = KINDS.get(activate)
    return gated(activate, pre, linear) if kind is None or not serves(pre, linear) else ops.gate(pre, linear, kind)


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, is_interleaved: bool) -> Tensor:
    """As `model.position.rotate`, its slow twin, and of the same shapes.

    x: [batch, head, position, d_head]; cos, sin: [batch, 1, position, d_rotated / 2].
    """
    is_plain = x.stride(-1) == 1 and len(cos) in (1, len(x)) and cos.shape[2] == x.shape[2]
    if not is_plain or not serves(x, cos):
        return rotate(x, cos, sin, is_interleaved=is_interleaved)
    return ops.rotate(x, cos, sin, is_interleaved)


def serves(x: Tensor, other: Tensor) -> bool:
    """Whether the kernels take these: fp32 of the size that pays, on a processor, without gradients, in full precision."""
    is_trained = torch.is_grad_enabled() and (x.requires_grad or other.requires_grad)
    return x.numel() >= SMALL and not is_trained and ops.takes(x, other)
