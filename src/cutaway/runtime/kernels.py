"""Leaves of the model as native kernels, with gradients. In: fp32 tensors on a processor. Out: what torch gives, sooner.

`accelerate` puts them into a model, and those of `rows`: projections and GELUs are replaced, `attend` is the kernel of its calls.
The definition of the model stays as it is, and so do its weights and their names. Slow twins: torch's own linear, gelu and
scaled_dot_product_attention, which also take whatever the kernels do not: other types, devices, masks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..model.attend import append
from ..model.attention import Attention
from ..model.call import Call, Spec
from ..model.feedforward import ACTIVATIONS, FeedForward, GatedFeedForward
from ..model.norm import RmsNorm
from ..model.projection import Projection
from . import rows
from .attend import fused
from .native.loader import Heads, Library, Shape, library

FEW = 8  # rows: up to here, weights are read once, and nothing is packed
MANY = 64  # rows: from here on, packing pays; between the two, torch serves

SMALL = 2**14  # numbers: below, a call costs more than it saves


def accelerate(model: nn.Module) -> str | None:
    """Replace what the kernels do sooner, in place. Returns None, or a sentence why they do not run here.

    Weights and their names stay; a replaced module takes any input that the original takes.
    """
    kernels = library()
    if isinstance(kernels, str):
        return kernels
    for module in model.modules():
        if isinstance(module, FeedForward) and module.activate is ACTIVATIONS["gelu_tanh"]:
            module.activate = gelu_tanh
        if isinstance(module, GatedFeedForward):
            module.gate = rows.gate
        if isinstance(module, Attention):
            module.rotate = rows.turn
        for name, child in module.named_children():
            if type(child) is Projection:
                setattr(module, name, NativeProjection(child))
            if type(child) is RmsNorm:
                setattr(module, name, rows.NativeRmsNorm(child))
    return None


class NativeProjection(Projection):
    """A projection by the native product."""

    def __init__(self, original: Projection) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = original.weight, original.bias

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (the seam)
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x · Wᵀ + b. x: [..., d_in]; weight: [d_out, d_in]; bias: [d_out] or None -> [..., d_out]. Slow twin: F.linear."""
    rows = x.numel() // x.shape[-1]
    if FEW < rows < MANY or not _serves(x, weight):
        return F.linear(x, weight, bias)
    if rows <= FEW:
        return F.linear(x, weight, bias) if torch.is_grad_enabled() else _few(x, weight, bias)
    product: Tensor = _Linear.apply(x, weight, bias)
    return product


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh, of any shape. Slow twin: F.gelu(x, approximate="tanh")."""
    if x.numel() < SMALL or not _serves(x, x):
        return F.gelu(x, approximate="tanh")
    active: Tensor = _Gelu.apply(x)
    return active


rows.KINDS[gelu_tanh] = rows.KINDS[ACTIVATIONS["gelu_tanh"]]


def attend(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """Attention under a flag, natively. q: [batch, head, query, d_head] -> the same shape. Slow twin: `runtime.attend.fused`."""
    frame = call.frame
    is_plain = frame is not None and frame.flag in ("causal", "full") and frame.bias is None and spec.softcap is None
    if not is_plain or q.shape[2] == 1 or not _serves(q, k):
        return fused(spec, q, k, v, call)
    k, v = append(k, v, call)
    mixed: Tensor = _Attention.apply(q, k, v, spec.scale, frame is not None and frame.flag == "causal")
    return mixed


class _Linear(torch.autograd.Function):
    """y = x Wᵀ + b;  dx = dy W,  dW = dyᵀ x,  db = Σ dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.has_bias = bias is not None
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        out = x.new_empty(*x.shape[:-1], weight.shape[0])
        _product(x.view(-1, x.shape[-1]), weight.t(), out.view(-1, out.shape[-1]), bias=bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        d_out = d_out.contiguous().view(-1, weight.shape[0])
        d_x = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = torch.empty_like(x)
            _product(d_out, weight, d_x.view(-1, x.shape[-1]))
        if ctx.needs_input_grad[1]:
            d_weight = torch.empty_like(weight)
            d_bias = weight.new_empty(weight.shape[0]) if ctx.has_bias else None
            _product(d_out.t(), x.view(-1, x.shape[-1]), d_weight, row_sums=d_bias)
        elif ctx.has_bias and ctx.needs_input_grad[2]:
            d_bias = d_out.sum(0)
        return d_x, d_weight, d_bias


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        out = torch.empty_like(x)
        _kernels().gelu(x.numel(), x.data_ptr(), out.data_ptr(), torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        d_out, d_x = d_out.contiguous(), torch.empty_like(x)
        _kernels().gelu_backward(x.numel(), x.data_ptr(), d_out.data_ptr(), d_x.data_ptr(), torch.get_num_threads())
        return d_x


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> Tensor:
        q, k, v = (_by_rows(x) for x in (q, k, v))
        out, lse = _like_heads(q), q.new_empty(q.shape[:3])
        ctx.shape = Shape(
            *q.shape[:2], k.shape[1], q.shape[2], k.shape[2], q.shape[3], scale, is_causal, torch.get_num_threads()
        )
        _kernels().attention(ctypes.addressof(ctx.shape), *_places(q, k, v, out), lse.data_ptr())
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, out, lse = ctx.saved_tensors
        given, gradients = _places(q, k, v, out), [_like_heads(x) for x in (q, k, v)]
        asked = _places(_by_rows(d_out), *gradients)
        _kernels().attention_backward(ctypes.addressof(ctx.shape), *given, lse.data_ptr(), *asked)
        return gradients[0], gradients[1], gradients[2], None, None


def _few(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    d_out, d_in = weight.shape
    out = x.new_empty(*x.shape[:-1], d_out)
    at_bias = None if bias is None else bias.data_ptr()
    _kernels().product_few(
        x.numel() // d_in,
        d_out,
        d_in,
        x.data_ptr(),
        weight.data_ptr(),
        at_bias,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def _product(a: Tensor, b: Tensor, out: Tensor, *, bias: Tensor | None = None, row_sums: Tensor | None = None) -> None:
    """out = a · b (+ bias), and the sums of a's rows. a, b: two axes each, by their strides; out: contiguous."""
    _kernels().product(
        *out.shape,
        a.shape[1],
        a.data_ptr(),
        *a.stride(),
        b.data_ptr(),
        *b.stride(),
        out.data_ptr(),
        out.shape[1],
        None if bias is None else bias.data_ptr(),
        None if row_sums is None else row_sums.data_ptr(),
        torch.get_num_threads(),
    )


def _places(*tensors: Tensor) -> Sequence[Any]:
    return [ctypes.byref(Heads(tensor.data_ptr(), *tensor.stride()[:3])) for tensor in tensors]


def _by_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_heads(x: Tensor) -> Tensor:
    """Room for [batch, head, position, d_head], laid out as the projections are: heads side by side."""
    batch, heads, positions, width = x.shape
    return x.new_empty(batch, positions, heads, width).transpose(1, 2)


def _serves(x: Tensor, other: Tensor) -> bool:
    """Whether the kernels take these: fp32, on a processor that has them, and not under mixed precision."""
    is_plain = x.dtype is torch.float32 and other.dtype is torch.float32 and x.is_cpu and other.is_cpu
    return is_plain and not torch.is_autocast_enabled("cpu") and not isinstance(library(), str)


def _kernels() -> Library:
    kernels = library()
    assert not isinstance(kernels, str), "asked for by _serves"
    return kernels
