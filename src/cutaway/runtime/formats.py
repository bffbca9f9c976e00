"""How keys and values lie in memory. In: vectors of heads. Out: the tensors that hold them, and the vectors again.

plain: every number in one type. int8: every vector of a token and head has a scale of its own, and a code for each number,

    scale = max |x| / 127,   code = round(x / scale),   x ≈ code · scale

so that no number is off by more than half a scale, which is 1/254 of the largest of its vector (symmetric, per token and head; as
the values of Liu et al. 2024, KIVI). A vector of d_head numbers takes d_head + 4 bytes, where fp32 takes 4 · d_head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

MOST_CODE = 127


class Format(Protocol):
    """One way to hold vectors. All tensors of a vector have its leading axes, and a last axis of their own."""

    def parts(self, d_head: int) -> tuple[tuple[int, torch.dtype], ...]:
        """The width and the type of each tensor that holds vectors of d_head numbers."""

    def write(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: [..., d_head] -> what is held: a tensor [..., width] for each part."""

    def read(self, held: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """What is held -> [..., d_head] of a type."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Every number in one type. Where the model computes in it, what is held is read where it lies."""

    dtype: torch.dtype = torch.float32

    def parts(self, d_head: int) -> tuple[tuple[int, torch.dtype], ...]:
        """One tensor, as wide as the vectors."""
        return ((d_head, self.dtype),)

    def write(self, x: Tensor) -> tuple[Tensor, ...]:
        """x, rounded."""
        return (x.to(self.dtype),)

    def read(self, held: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """The same numbers."""
        return held[0].to(dtype)


@dataclass(frozen=True, slots=True)
class Int8:
    """A code of 8 bits for each number, a scale in fp32 for each vector. Slow twin: `Plain` of what `read(write(x))` gives."""

    def parts(self, d_head: int) -> tuple[tuple[int, torch.dtype], ...]:
        """Codes, and scales."""
        return ((d_head, torch.int8), (1, torch.float32))

    def write(self, x: Tensor) -> tuple[Tensor, ...]:
        """Codes [..., d_head] and scales [..., 1]. A vector of zeros has scale 0; of what is no number, one that is none."""
        wide = x.float()
        scales = wide.abs().amax(-1, keepdim=True) / MOST_CODE
        codes = (wide / scales).nan_to_num_(0.0, MOST_CODE, -MOST_CODE).round_().clamp_(-MOST_CODE, MOST_CODE)
        return codes.to(torch.int8), scales

    def read(self, held: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """code · scale."""
        codes, scales = held
        return (codes * scales).to(dtype)
