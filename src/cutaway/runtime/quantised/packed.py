"""Projections with rounded weights by torch's own products, for where no native kernel runs. Out: x · Wᵀ + b in fp32.

    8 bits    whole numbers with a scale for each output; x is rounded likewise, each row by itself (oneDNN, u8 by s8)
    8 bits    the same weights, and x in bf16 (int8pack): where a processor adds u8 by s8 in too few bits
    4 bits    16 levels with a scale for 32 inputs, as the native kernels have them, the scale in bf16; x in bf16 (int4pack)
    16 bits   weights, x and the product in bf16, laid out once (oneDNN)

`packed` gives the first of these that this build of torch has, that computes rightly on this processor, and that is sooner than a
stretch of W at a time. Slow twin: `QuantisedProjection.slow`. Sources: aten's native/quantized/cpu/qlinear.cpp, native/Linear.cpp
and native/LinearAlgebra.cpp, which name these operators.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.projection import Projection
from .kernels import given, serves
from .projection import STRETCH, QuantisedProjection
from .rounding import GROUP, LIMITS, largest_of, rounded

BLOCK = 64  # outputs that int4pack and int8pack read at a time, at most
DIGIT = 4  # bits of a code of 4
FEW = 16  # rows: int8pack and int4pack read all codes for each row, so beyond it W is made a stretch at a time
HALF = 128  # added to x, so that its codes are 0 … 255
TRIED = 1024  # inputs and outputs of the trial
TIMES = 5
NEAR = 2.0**-7  # of the largest output: x and the output lose 2⁻⁹ each in bf16


class PackedProjection(QuantisedProjection):
    """A projection by one of torch's own products. `fast` looks whether it takes x, `product` multiplies."""

    most_rows: int | None = None  # that the product is the best way for

    def fast(self, x: Tensor) -> Tensor:
        """By torch's product where it takes x, else a stretch of W at a time."""
        rows = x.numel() // max(1, x.shape[-1])
        if not (rows and serves(x, self.d_in) and (self.most_rows is None or rows <= self.most_rows)):
            return self.streamed(x)
        out = self.product(x.reshape(rows, self.d_in)).view(*x.shape[:-1], self.d_out)
        return out if self.bias is None else out + self.bias

    def product(self, x: Tensor) -> Tensor:
        """x: [row, d_in] -> [row, d_out] without the bias."""
        raise NotImplementedError

    def row_product(self) -> None:
        """There are no native parts."""


class Opaque:
    """A weight as oneDNN laid it out for itself. Nobody writes into it, so copies of a model share it."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __deepcopy__(self, _: dict[int, Any]) -> Opaque:
        return self


class RoundedRows(PackedProjection):
    """8 bits by oneDNN's product of u8 and s8."""

    bits, tile = 8, 1
    scales: Tensor

    def __init__(self, original: Projection) -> None:
        super().__init__(original)
        codes, scales = rounded_by_output(original.weight.detach())
        self.held = Opaque(torch.ops.onednn.qlinear_prepack(codes, None))
        self.register_buffer("scales", scales.view(torch.int32))
        self.register_buffer("zeros", torch.zeros(self.d_out, dtype=torch.int32))

    @property
    def hidden_bytes(self) -> int:
        """A byte for each weight."""
        return self.d_in * self.d_out

    def product(self, x: Tensor) -> Tensor:
        """Exact sums of whole numbers, times both scales."""
        codes, scales = codes_of_rows(x)
        shifted, steps = codes.add_(HALF).to(torch.uint8), self.scales.view(torch.float32)
        places = (shifted, 1.0, HALF, self.held.weight, steps, self.zeros)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(*places, None, 1.0, 0, torch.float32, "none", [], "")
        return out.mul_(scales)

    def seen(self, x: Tensor) -> Tensor:
        """x, a row at a time, as whole numbers times a scale."""
        codes, scales = codes_of_rows(x.detach())
        return codes * scales

    def numbers(self, tiles: slice) -> Tensor:
        """Codes times scales."""
        return self.held.weight.to_dense().t()[tiles].float() * self.scales.view(torch.float32)[tiles, None]


class RoundedWeights(PackedProjection):
    """8 bits by torch's int8pack, which reads whole vectors: what it is given is filled up, or it would read beyond the end."""

    bits, tile, most_rows = 8, 1, FEW
    codes: Tensor
    scales: Tensor

    def __init__(self, original: Projection) -> None:
        super().__init__(original)
        codes, scales = rounded_by_output(original.weight.detach())
        outputs = -self.d_out % BLOCK
        self.register_buffer("codes", F.pad(codes, (0, -self.d_in % GROUP, 0, outputs)))
        self.register_buffer("scales", F.pad(scales.bfloat16(), (0, outputs)).view(torch.int16))

    def product(self, x: Tensor) -> Tensor:
        """Codes become bf16 as they are read."""
        near = F.pad(x.bfloat16(), (0, -self.d_in % GROUP))
        scales = self.scales.view(torch.bfloat16)
        return torch._weight_int8pack_mm(near, self.codes, scales)[:, : self.d_out].float()

    def numbers(self, tiles: slice) -> Tensor:
        """Codes times scales."""
        return self.codes[tiles].float() * self.scales.view(torch.bfloat16)[tiles, None].float()


class PackedCodes(PackedProjection):
    """4 bits by torch's int4pack."""

    bits, tile, most_rows = 4, BLOCK, FEW
    codes: Tensor
    scales: Tensor

    def __init__(self, original: Projection) -> None:
        super().__init__(original)
        made = rounded(original.weight.detach(), self.bits)
        outputs, inputs = -self.d_out % BLOCK, -self.d_in % GROUP
        codes = F.pad(made.codes, (0, inputs, 0, outputs)).int() - LIMITS[4][0]
        scales = F.pad(made.scales.float() * made.factor, (0, 0, 0, outputs)).bfloat16()
        both = torch.stack((scales, torch.zeros_like(scales)), 2).transpose(0, 1)  # [group, output, scale and zero]
        self.register_buffer("codes", torch._convert_weight_to_int4pack_for_cpu(codes, 1))
        self.register_buffer("scales", both.contiguous().view(torch.int16))

    def product(self, x: Tensor) -> Tensor:
        """Codes become bf16 as they are read."""
        near = F.pad(x.bfloat16(), (0, -self.d_in % GROUP))
        scales = self.scales.view(torch.bfloat16)
        return torch._weight_int4pack_mm_for_cpu(near, self.codes, GROUP, scales)[:, : self.d_out].float()

    def numbers(self, tiles: slice) -> Tensor:
        """Codes times scales."""
        blocks = self.codes.view(self.codes.shape[0] // BLOCK, -1)[tiles]
        places = places_of_codes(2 * self.codes.shape[1])
        codes = nibbles(blocks)[:, places].view(-1, 2 * self.codes.shape[1]).float() + LIMITS[4][0]
        scales = self.scales.view(torch.bfloat16)[..., 0].t()[tiles.start * BLOCK :][: len(codes)].float()
        return (codes.unflatten(1, (-1, GROUP)) * scales.unsqueeze(2)).flatten(1)


class PackedHalves(PackedProjection):
    """16 bits by oneDNN's product of bf16."""

    bits, tile = 16, 1

    def __init__(self, original: Projection) -> None:
        super().__init__(original)
        self.held = Opaque(torch.ops.mkldnn._reorder_linear_weight(original.weight.detach().bfloat16(), None))

    @property
    def hidden_bytes(self) -> int:
        """Two bytes for each weight."""
        return 2 * self.d_in * self.d_out

    def product(self, x: Tensor) -> Tensor:
        """Sums in fp32, rounded to bf16 once."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.bfloat16(), self.held.weight, None, "none", [], "")
        return out.float()

    def numbers(self, tiles: slice) -> Tensor:
        """The weights as they are."""
        return self.held.weight.to_dense()[tiles].float()


KINDS: dict[int, tuple[type[PackedProjection], ...]] = {
    16: (PackedHalves,),
    8: (RoundedRows, RoundedWeights),
    4: (PackedCodes,),
}


@functools.cache
def packed(bits: int) -> type[PackedProjection] | None:
    """The first kind for these bits that is right and sooner than a stretch at a time, or None where there is none."""
    return next((kind for kind in KINDS[bits] if is_admitted(kind)), None)


def is_admitted(kind: type[PackedProjection]) -> bool:
    """Whether it computes rightly, and one row takes less time than by a stretch at a time, each the least of five."""
    made, x = tried(kind), given(1, TRIED, 2)
    with torch.inference_mode():
        return made is not None and least(lambda: made.product(x)) < least(lambda: made.streamed(x))


def tried(kind: type[PackedProjection]) -> PackedProjection | None:
    """One of its kind, where torch has it here and it says of one row and a few what its slow twin says."""
    x = given(3, TRIED, 2).sign()  # neighbours of one sign: sums of pairs at both ends of what 16 bits hold
    try:
        with torch.inference_mode():
            made = kind(trial())
            wanted = made.slow(x)
            gaps = [made.product(x[:rows]) - wanted[:rows] for rows in (1, 3)]
    except (RuntimeError, AttributeError, NotImplementedError):  # an operator that this build of torch lacks or refuses
        return None
    return made if all(float(gap.abs().max()) <= NEAR * float(wanted.abs().max()) for gap in gaps) else None


def trial() -> Projection:
    """A projection whose weights are the largest of their output, or half of it, with either sign."""
    square = Projection(TRIED, TRIED, bias=False).requires_grad_(False)
    sizes = (1 + torch.arange(float(TRIED)) % 5).outer(1 + torch.arange(TRIED) // GROUP % 2)
    square.weight.copy_(given(TRIED, TRIED, 1).sign() * sizes)
    return square


def least(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs."""
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def rounded_by_output(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight: [d_out, d_in] -> codes, int8, and scales [d_out], fp32: the largest of each output / 127.

    Raises CutawayError for a weight that is not finite.
    """
    largest_of(weight)
    largest = weight.abs().amax(1).float()
    scales = largest / LIMITS[8][1]
    codes = torch.empty(weight.shape, dtype=torch.int8)
    for start in range(0, len(weight), rows := max(1, STRETCH // weight.shape[1])):
        part = slice(start, start + rows)
        codes[part] = (weight[part].float() / scales[part, None]).nan_to_num_(0.0).round_()
    return codes, scales


def codes_of_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x: [..., d_in] -> whole numbers −127 … 127 [..., d_in] and scales [..., 1], not finite where a row is not."""
    largest = torch.linalg.vector_norm(x, torch.inf, dim=-1, keepdim=True)
    scales = (largest / LIMITS[8][1]).clamp_(min=torch.finfo(torch.float32).tiny)
    return (x / scales).round_(), scales


@functools.cache
def places_of_codes(d_in: int) -> Tensor:
    """Where the codes of a block lie among its nibbles: [output of the block · input], whatever order this processor has.

    The places themselves are written in digits of 4 bits and packed, a digit at a time: a nibble then spells whose it is.
    """
    owner = torch.zeros(BLOCK * d_in, dtype=torch.int64)
    ids = torch.arange(BLOCK * d_in).view(BLOCK, d_in)
    for shift in range(0, int(ids[-1, -1]).bit_length(), DIGIT):
        digits = (ids >> shift & 15).int()
        owner |= nibbles(torch._convert_weight_to_int4pack_for_cpu(digits, 1).view(1, -1))[0].long() << shift
    return owner.argsort()


def nibbles(codes: Tensor) -> Tensor:
    """uint8 [..., n] -> [..., 2 n], the low four bits of each first."""
    return torch.stack((codes & 15, codes >> 4), -1).flatten(-2)
