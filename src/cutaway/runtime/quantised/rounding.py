"""A weight -> whole numbers with a scale for every 32 inputs. In: a matrix in full precision. Out: codes, scales, a factor.

    w ≈ factor · scale · code        code: −127 … 127 at 8 bits, −8 … 7 at 4; scale: fp16, one per row and 32 inputs

A code is the nearest to w / scale, so the scale alone is sought: of a handful of candidates the one with the smallest squared
error, after its rounding to fp16, and then, twice, the one that least squares gives to its codes, s = Σ w c / Σ c², where that is
better. The first candidate is that of llama.cpp's format (Q8_0: the largest / 127; Q4_0: the largest / −8), so a matrix that was
read from such blocks is found again without an error. factor is a power of two that keeps all scales of a matrix within fp16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import CutawayError

GROUP = 32  # inputs that share a scale
LIMITS = {8: (-127, 127), 4: (-8, 7)}  # codes
# What the largest number of a group is taken for. At 4 bits the range has one more code below zero than above it.
TRIED = {
    8: (127.0, 125.5, 123.5),
    4: (-8.0, -7.0, -9.0, 7.0, -7.5, -8.5, 7.5),
}
REFINED = 2  # times that least squares has a say
LARGEST = 2.0**15  # the scales of a matrix, over its factor, stay below: fp16 ends at 65,504
SMALLEST_FACTOR = 2.0**-100  # below, a factor times a scale would leave fp32
LEAST = 2.0**-120  # of x: what is nowhere larger is taken for zero, since 127 over it must stay a number
PIECE = 2**20  # numbers that are rounded at a time


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """codes: int8 [d_out, d_in]. scales: fp16 [d_out, group], over the factor; the last group may be short."""

    codes: Tensor
    scales: Tensor
    factor: float

    def weight(self) -> Tensor:
        """What it stands for: [d_out, d_in], fp32."""
        scales = self.scales.float() * self.factor
        return self.codes.float() * scales.repeat_interleave(GROUP, dim=1)[:, : self.codes.shape[1]]


@torch.no_grad()
def rounded(weight: Tensor, bits: int) -> Rounded:
    """weight: [d_out, d_in], of any floating type. bits: 8 or 4. Raises CutawayError for a weight that is not finite."""
    factor = factor_of(weight, bits)
    d_out, d_in = weight.shape
    codes = torch.empty(d_out, d_in, dtype=torch.int8, device=weight.device)
    scales = torch.empty(d_out, -(-d_in // GROUP), dtype=torch.float16, device=weight.device)
    rows = max(1, PIECE // max(1, d_in))
    for start in range(0, d_out, rows):
        piece = slice(start, start + rows)
        groups = F.pad(weight[piece].float(), (0, -d_in % GROUP)).unflatten(1, (-1, GROUP))
        found, scales[piece] = _search(groups / factor, bits)
        codes[piece] = found.flatten(1)[:, :d_in]
    return Rounded(codes=codes, scales=scales, factor=factor)


@torch.no_grad()
def rounded_inputs(x: Tensor) -> Tensor:
    """x: [..., d_in] -> x as whole numbers −127 … 127 times a scale, the largest of 32 inputs / 127.

    What is not finite makes its group NaN.
    """
    groups = F.pad(x.detach().float(), (0, -x.shape[-1] % GROUP)).unflatten(-1, (-1, GROUP))
    largest = groups.abs().amax(-1, keepdim=True)
    most = torch.full_like(largest, LIMITS[8][1])  # a number over a tensor would be rounded twice
    inverse = torch.where(largest > LEAST, most / largest, torch.zeros_like(largest))
    codes = (groups * inverse).round()
    scales = torch.where(largest.isfinite(), largest / LIMITS[8][1], torch.full_like(largest, torch.nan))
    return (codes * scales).flatten(-2)[..., : x.shape[-1]].to(x.dtype)


def factor_of(weight: Tensor, bits: int) -> float:
    """A power of two over which every scale that may be found lies within fp16. Raises CutawayError as `rounded` does."""
    return factor_for(largest_of(weight), bits)


def factor_for(largest: float, bits: int) -> float:
    """As `factor_of`, for the largest |w|."""
    largest_scale = largest / min(abs(tried) for tried in TRIED[bits])
    if largest_scale == 0:
        return 1.0
    return max(2.0 ** (math.frexp(largest_scale)[1] - math.frexp(LARGEST)[1] + 1), SMALLEST_FACTOR)


def largest_of(weight: Tensor) -> float:
    """The largest |w|. Raises CutawayError for a weight that is not finite."""
    least, most = weight.aminmax() if weight.numel() else (0.0, 0.0)  # without a second tensor, as `abs` would make
    return finite(max(-float(least), float(most)))


def finite(largest: float) -> float:
    """The largest |w| itself. Raises CutawayError where it is not finite."""
    if not math.isfinite(largest):
        raise CutawayError("A weight is not finite, and has no rounding to 8 or 4 bits. The checkpoint is damaged.")
    return largest


def _search(groups: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """groups: [d_out, group, input] -> codes [d_out, group, input] and scales [d_out, group] of the smallest squared error."""
    largest = groups.gather(2, groups.abs().argmax(2, keepdim=True)).squeeze(2)
    best = torch.zeros_like(largest)
    codes, error = _coded(groups, best, bits)
    for tried in (*TRIED[bits], *[None] * REFINED):
        fitted = (groups * codes).sum(2) / codes.square().sum(2).clamp(min=1) if tried is None else largest / tried
        scales = fitted.half().float()
        new, new_error = _coded(groups, scales, bits)
        is_better = new_error < error
        best = torch.where(is_better, scales, best)
        codes = torch.where(is_better.unsqueeze(2), new, codes)
        error = torch.where(is_better, new_error, error)
    return codes.to(torch.int8), best.half()


def _coded(groups: Tensor, scales: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The nearest codes of these scales, and the squared error of each group."""
    steps = scales.unsqueeze(2)
    inverse = torch.where(steps == 0, torch.zeros_like(steps), steps.reciprocal())
    codes = (groups * inverse).round().clamp(*LIMITS[bits])
    return codes, (groups - codes * steps).square().sum(2)
