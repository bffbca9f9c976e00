"""What many tokens go through between products, natively: RMS norms, gates, rotary positions. In: fp32. Out: the same.

Each is one pass over memory where torch makes several. `accelerate` puts them into a model. Slow twins: `RmsNorm`, `gated` and
`rotate` of the model, which also take whatever these do not: gradients, other types and devices.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from ..config import Activation
from ..model.feedforward import ACTIVATIONS, gated
from ..model.norm import RmsNorm
from ..model.position import rotate
from .native.loader import SIZE, Library, library

SMALL = 2**12  # numbers: below, a call costs more than it saves
NAMES: tuple[Activation, ...] = ("gelu", "gelu_tanh", "relu", "relu_squared", "silu")  # in the order of one.h
KINDS: dict[Callable[[Tensor], Tensor], int] = {ACTIVATIONS[name]: kind for kind, name in enumerate(NAMES)}


class Turning(ctypes.Structure):
    """The shape of a rotation, as rows.cpp reads it."""

    _fields_ = (
        *((name, SIZE) for name in ("batch", "heads", "positions", "width", "pairs", "is_interleaved")),
        ("strides", SIZE * 3),
        ("apart", SIZE),
    )


class NativeRmsNorm(RmsNorm):
    """A norm by the native kernel, over the weight of the one that it replaces."""

    def __init__(self, original: RmsNorm) -> None:
        torch.nn.Module.__init__(self)
        self.eps, self.offset, self.weight = original.eps, original.offset, original.weight

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., width] -> the same shape."""
        kernels = serving(x, self.weight)
        if kernels is None:
            return super().forward(x)
        x, width = x.contiguous(), x.shape[-1]
        out = torch.empty_like(x)
        places = x.data_ptr(), self.weight.data_ptr(), self.offset, self.eps, out.data_ptr()
        kernels.rms_norm_rows(x.numel() // width, width, *places, torch.get_num_threads())
        return out


def gate(activate: Callable[[Tensor], Tensor], pre: Tensor, linear: Tensor) -> Tensor:
    """f(pre) · linear. Slow twin: `model.feedforward.gated`."""
    kernels = serving(pre, linear)
    kind = KINDS.get(activate)
    if kernels is None or kind is None:
        return gated(activate, pre, linear)
    pre, linear = pre.contiguous(), linear.contiguous()
    out = torch.empty_like(pre)
    places = pre.data_ptr(), linear.data_ptr(), out.data_ptr()
    kernels.gate_rows(pre.numel(), kind, *places, torch.get_num_threads())
    return out


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, is_interleaved: bool) -> Tensor:
    """As `model.position.rotate`, its slow twin, and of the same shapes.

    x: [batch, head, position, d_head]; cos, sin: [batch, 1, position, d_rotated / 2].
    """
    kernels = serving(x, cos)
    if kernels is None or x.stride(-1) != 1 or len(cos) not in (1, len(x)) or cos.shape[2] != x.shape[2]:
        return rotate(x, cos, sin, is_interleaved=is_interleaved)
    (batch, heads, positions, width), cos, sin = x.shape, cos.contiguous(), sin.contiguous()
    out = x.new_empty(batch, positions, heads, width)
    apart = 0 if len(cos) == 1 else positions * cos.shape[-1]
    shape = Turning(batch, heads, positions, width, cos.shape[-1], is_interleaved, (SIZE * 3)(*x.stride()[:3]), apart)
    places = x.data_ptr(), cos.data_ptr(), sin.data_ptr(), out.data_ptr()
    kernels.rotate_rows(ctypes.addressof(shape), *places, torch.get_num_threads())
    return out.transpose(1, 2)


def serving(x: Tensor, other: Tensor) -> Library | None:
    """The kernels, where they take these: fp32 of the size that pays, on a processor, without gradients, in full precision."""
    kernels = library()
    if isinstance(kernels, str) or x.numel() < SMALL or torch.is_autocast_enabled("cpu"):
        return None
    if torch.is_grad_enabled() and (x.requires_grad or other.requires_grad):
        return None
    is_plain = x.dtype is torch.float32 and other.dtype is torch.float32 and x.is_cpu and other.is_cpu
    return kernels if is_plain else None
