"""Leaves of the model as native kernels, with gradients. In: fp32 tensors on a processor. Out: what torch gives, sooner.

`accelerate` puts them into a model, and those of `rows`: projections and GELUs are replaced, `attend` is the kernel of its calls.
The definition of the model stays as it is, and so do its weights and their names. Slow twins: torch's own linear, gelu and
scaled_dot_product_attention, which also take whatever the kernels do not: other types, devices, masks.
"""

from __future__ import annotations

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
from . import ops, rows
from .activation import gelu_tanh
from .attend import fused
from .native.loader import library

FEW = 8  # rows: up to here, weights are read once, and nothing is packed
MANY = 64  # rows: from here on, packing pays; between the two, torch serves


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
    if FEW < rows < MANY or not ops.takes(x, weight):
        return F.linear(x, weight, bias)
    if rows <= FEW:
        return F.linear(x, weight, bias) if torch.is_grad_enabled() else ops.linear_of_few(x, weight, bias)
    product: Tensor = _Linear.apply(x, weight, bias)
    return product


def attend(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """Attention under a flag, natively. q: [batch, head, query, d_head] -> the same shape. Slow twin: `runtime.attend.fused`."""
    frame = call.frame
    is_plain = frame is not None and frame.flag in ("causal", "full") and frame.bias is None and spec.softcap is None
    if not is_plain or q.shape[2] == 1 or not ops.takes(q, k):
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
        return ops.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        d_out = d_out.contiguous().view(-1, weight.shape[0])
        d_x = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = ops.linear_by_input(d_out, weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            d_weight, sums = ops.linear_by_weight(d_out, x.view(-1, x.shape[-1]), ctx.has_bias)
            d_bias = sums if ctx.has_bias else None
        elif ctx.has_bias and ctx.needs_input_grad[2]:
            d_bias = d_out.sum(0)
        return d_x, d_weight, d_bias


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> Tensor:
        out, lse = ops.attention(q, k, v, scale, is_causal)
        ctx.knobs = scale, is_causal
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        return *ops.attention_by_inputs(d_out, *ctx.saved_tensors, *ctx.knobs), None, None
