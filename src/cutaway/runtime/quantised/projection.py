"""Projections with rounded weights, behind the seam of `Projection`. In: x in fp32 and the call. Out: x · Wᵀ + b in fp32.

W is what the codes stand for. At 8 and 4 bits x is rounded as well, each row by itself, 32 inputs at a time, to −127 … 127 times
a scale (as llama.cpp multiplies Q8_0 and Q4_0): products are then of small whole numbers. At 16 bits W is bf16, and x stays.

Slow twins: `slow`, which multiplies by the whole `weight` in fp32, and `in_full`, the same without rounding x. Where a kernel
does not take x, `streamed` serves, a stretch of W at a time, so that what is held stays small. Where no kernel runs at all, the
projections of `packed` come before these.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.call import Call
from ...model.projection import Projection
from . import kernels
from .rounding import GROUP, rounded_inputs
from .tiles import OUTPUTS, tiled_pairs, untiled, untiled_pairs, untiled_scales

STRETCH = 2**18  # numbers of W that are held in full precision at a time


class QuantisedProjection(Projection):
    """A projection whose weight is kept in `bits`. Its bias is that of the one which it replaces.

    What it keeps is of whole types, bits of fp16 and bf16 too: a model that is moved to another type leaves it as it is.
    """

    is_quantised = True
    bits: int
    tile = OUTPUTS  # outputs that lie together

    def __init__(self, original: Projection) -> None:
        nn.Module.__init__(self)
        self.d_out, self.d_in = original.weight.shape
        self.bias = original.bias

    @property
    def hidden_bytes(self) -> int:
        """What it keeps outside of its buffers."""
        return 0

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What the codes stand for, made anew: [d_out, d_in], fp32. Writing into it changes nothing."""
        return torch.cat([part for _, part in self.stretches(self.d_out)])

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (the seam)
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        is_bias_trained = self.bias is not None and self.bias.requires_grad
        if torch.is_grad_enabled() and (x.requires_grad or is_bias_trained):
            return self.slow(x)
        return self.fast(x)

    def row_product(self) -> kernels.RowProduct | None:
        """The product with a few rows in native parts, or None where no kernel runs."""
        raise NotImplementedError

    def fast(self, x: Tensor) -> Tensor:
        """By the native kernel, or a stretch of W at a time."""
        raise NotImplementedError

    def is_native(self, held: Tensor) -> bool:
        """Whether what it holds is where and what the kernels read. held: its codes."""
        return held.is_cpu and (self.bias is None or self.bias.dtype is torch.float32)

    def slow(self, x: Tensor) -> Tensor:
        """The slow twin of `forward`. The gradient of x is that of the product, as if x were not rounded."""
        near = x + (self.seen(x) - x).detach() if x.requires_grad else self.seen(x)
        return F.linear(near, self.weight.to(x), self.bias)

    def in_full(self, x: Tensor) -> Tensor:
        """The product by W without rounding x."""
        return F.linear(x, self.weight.to(x), self.bias)

    def streamed(self, x: Tensor) -> Tensor:
        """As `slow`, with a stretch of W at a time."""
        out = x.new_empty(*x.shape[:-1], self.d_out)
        near = self.seen(x)
        for rows, part in self.stretches(max(self.tile, STRETCH // max(1, self.d_in))):
            out[..., rows] = F.linear(near, part.to(x), None if self.bias is None else self.bias[rows])
        return out

    def seen(self, x: Tensor) -> Tensor:
        """x as this projection sees it, rounded or not."""
        return x

    def stretches(self, rows: int) -> Iterator[tuple[slice, Tensor]]:
        """W in stretches of some rows, whole tiles: which they are, and [row, d_in] in fp32."""
        tiles = -(-rows // self.tile)
        for start in range(0, -(-self.d_out // self.tile), tiles):
            first, last = start * self.tile, min((start + tiles) * self.tile, self.d_out)
            yield slice(first, last), self.numbers(slice(start, start + tiles))[: last - first, : self.d_in]

    def numbers(self, tiles: slice) -> Tensor:
        """What some tiles stand for: [row, d_in] in fp32, both filled up."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """d_in -> d_out, as printed."""
        return f"{self.d_in} -> {self.d_out}{'' if self.bias is not None else ', no bias'}, {self.bits} bits"


class IntegerProjection(QuantisedProjection):
    """Weights of 8 or 4 bits with a scale for 32 inputs; x is rounded to 8 bits likewise."""

    is_slow: bool  # no native product runs on this processor
    codes: Tensor
    scales: Tensor

    def __init__(self, original: Projection, bits: int) -> None:
        super().__init__(original)
        codes, scales, self.factor = kernels.rounded_tiles(original.weight.detach(), bits)
        self.bits, self.is_slow = bits, isinstance(kernels.integers(), str)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales.view(torch.int16))

    def fast(self, x: Tensor) -> Tensor:
        """By `kernels.integers` where it runs."""
        if self.is_slow or not (kernels.serves(x, self.d_in) and self.is_native(self.codes)):
            return self.streamed(x)
        return kernels.linear_of_integers(x, self.codes, self.scales, self.factor, self.d_out, self.bias)

    def row_product(self) -> kernels.RowProduct | None:
        """By `kernels.integers` where it runs."""
        kernel = kernels.integers()
        if isinstance(kernel, str) or not self.is_native(self.codes):
            return None
        return kernels.row_product_of_integers(
            kernel, self.codes, self.scales, self.factor, (self.d_out, self.d_in), self.bias
        )

    def seen(self, x: Tensor) -> Tensor:
        """x, 32 inputs at a time, as whole numbers times a scale."""
        return rounded_inputs(x)

    def numbers(self, tiles: slice) -> Tensor:
        """Codes times scales."""
        codes = untiled(self.codes[tiles], self.bits).float().unflatten(1, (-1, GROUP))
        scales = untiled_scales(self.scales[tiles].view(torch.float16)).float() * self.factor
        return (codes * scales.unsqueeze(2)).flatten(1)


class HalfProjection(QuantisedProjection):
    """Weights in bf16, the upper half of an fp32."""

    bits = 16
    is_slow: bool  # as of integers
    pairs: Tensor

    def __init__(self, original: Projection) -> None:
        super().__init__(original)
        self.is_slow = isinstance(kernels.halves(), str)
        self.register_buffer("pairs", tiled_pairs(original.weight.detach().bfloat16()).view(torch.int16))

    def fast(self, x: Tensor) -> Tensor:
        """By `kernels.halves` where it runs."""
        if self.is_slow or not (kernels.serves(x, self.d_in) and self.is_native(self.pairs)):
            return self.streamed(x)
        return kernels.linear_of_halves(x, self.pairs, self.d_out, self.bias)

    def row_product(self) -> kernels.RowProduct | None:
        """By `kernels.halves` where it runs."""
        kernel = kernels.halves()
        if isinstance(kernel, str) or not self.is_native(self.pairs):
            return None
        return kernels.row_product_of_halves(kernel, self.pairs, (self.d_out, self.d_in), self.bias)

    def numbers(self, tiles: slice) -> Tensor:
        """The weights as they are."""
        return untiled_pairs(self.pairs[tiles].view(torch.bfloat16)).float()
