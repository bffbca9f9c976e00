"""Normalisation of a vector. In: x. Out: x with its size taken out, rescaled by learned weights.

layer: (x − mean) / sqrt(variance + eps) · scale + bias (Ba et al. 2016, eq. 4); rms: x / sqrt(mean(x²) + eps) · scale
(Zhang & Sennrich 2019, eq. 4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import NormConfig


class LayerNorm(nn.Module):
    """Mean and variance taken out, over the last axis."""

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if config.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., width] -> the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RmsNorm(nn.Module):
    """Root mean square taken out, over the last axis, computed in fp32 at least."""

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__()
        self.eps, self.offset = config.eps, config.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - config.offset))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., width] -> the same shape."""
        wide = x if x.dtype == torch.float64 else x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (scaled * (self.weight + self.offset)).to(x.dtype)


def make_norm(width: int, config: NormConfig) -> nn.Module:
    """The norm that the config names."""
    return LayerNorm(width, config) if config.kind == "layer" else RmsNorm(width, config)
