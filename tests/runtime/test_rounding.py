"""Weights in 8 and 4 bits: the error beside llama.cpp's formats, blocks that are found again, tiles that lose nothing."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from cutaway.errors import CutawayError
from cutaway.runtime.quantised import kernels
from cutaway.runtime.quantised.rounding import LIMITS, Rounded, rounded
from cutaway.runtime.quantised.tiles import tiled, tiled_pairs, untiled, untiled_pairs, untiled_scales

KINDS = {8: gguf.GGMLQuantizationType.Q8_0, 4: gguf.GGMLQuantizationType.Q4_0}
BITS = pytest.mark.parametrize("bits", [8, 4])


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrices() -> dict[str, Tensor]:
    outliers = random(24, 96)
    outliers[:, ::17] *= 30
    return {
        "normal": random(40, 64) * 0.02,
        "heavy tails": random(32, 128) ** 3,
        "outliers": outliers,
        "one sign": random(16, 64).abs(),
        "tiny": random(16, 64) * 1e-6,
        "large": random(16, 64) * 1e4,
        "sparse": random(16, 64) * (random(16, 64, seed=2) > 1),
    }


def theirs(weight: Tensor, bits: int) -> Tensor:
    """What llama.cpp's format of as many bits makes of a weight, by the gguf package."""
    raw = gguf.quants.quantize(weight.numpy(), KINDS[bits])
    return torch.from_numpy(gguf.quants.dequantize(raw, KINDS[bits]))


def in_tiles(weight: Tensor, bits: int) -> Tensor:
    """What the tiles of `rounded_tiles` stand for."""
    codes, scales, factor = kernels.rounded_tiles(weight, bits)
    whole = Rounded(codes=untiled(codes, bits), scales=untiled_scales(scales), factor=factor).weight()
    return whole[: weight.shape[0], : weight.shape[1]]


def error(made: Tensor, weight: Tensor) -> float:
    return float((made.double() - weight.double()).square().sum())


@BITS
@pytest.mark.parametrize("weight", matrices().values(), ids=matrices())
def test_the_error_is_at_most_that_of_the_format_of_as_many_bits(weight: Tensor, bits: int) -> None:
    bound, scale = error(theirs(weight, bits), weight), float(weight.abs().max())
    assert bound > 0
    for made in (rounded(weight, bits).weight(), in_tiles(weight, bits)):
        assert error(made, weight) <= bound
        assert float((made - weight).abs().max()) <= scale / (200 if bits == 8 else 8)


@BITS
@pytest.mark.parametrize("weight", matrices().values(), ids=matrices())
def test_blocks_of_the_format_are_found_again(weight: Tensor, bits: int) -> None:
    """What was read from a file of llama.cpp's is kept as it is, to the last bit."""
    blocks = theirs(weight, bits)
    assert torch.equal(rounded(blocks, bits).weight(), blocks)
    assert torch.equal(in_tiles(blocks, bits), blocks)


@BITS
@settings(max_examples=25, deadline=None)
@given(d_out=some.integers(1, 40), d_in=some.integers(1, 100), seed=some.integers(0, 99), size=some.integers(-60, 60))
def test_both_roundings_find_equal_errors(bits: int, d_out: int, d_in: int, seed: int, size: int) -> None:
    weight = random(d_out, d_in, seed=seed) * 2.0**size
    weight[: d_out // 3] = 0
    slow, fast = rounded(weight, bits), in_tiles(weight, bits)
    assert slow.codes.min() >= LIMITS[bits][0]
    assert slow.codes.max() <= LIMITS[bits][1]
    assert error(fast, weight) == pytest.approx(error(slow.weight(), weight), rel=1e-3, abs=1e-30)
    assert not slow.weight()[: d_out // 3].any()
    assert not fast[: d_out // 3].any()


def test_a_rounding_that_rounds_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (kernels.rounder() is None) == (not kernels.sets())
    monkeypatch.setattr(kernels, "rounded", lambda weight, bits: rounded(weight * 1.01, bits))
    assert kernels.rounder.__wrapped__() is None


@pytest.mark.parametrize(("d_out", "d_in"), [(1, 1), (16, 32), (17, 33), (40, 100)])
def test_tiles_lose_nothing(d_out: int, d_in: int) -> None:
    generator = torch.Generator().manual_seed(3)
    for bits, (low, high) in LIMITS.items():
        codes = torch.randint(low, high + 1, (d_out, d_in), generator=generator, dtype=torch.int8)
        assert torch.equal(untiled(tiled(codes, bits), bits)[:d_out, :d_in], codes)
    weight = random(d_out, d_in).bfloat16()
    assert torch.equal(untiled_pairs(tiled_pairs(weight))[:d_out, :d_in], weight)


def test_the_order_of_tiles_is_the_one_that_is_written_down() -> None:
    """Independent of `untiled`: one number is looked up by hand."""
    codes = torch.zeros(32, 64, dtype=torch.int8)
    codes[16 + 5, 32 + 4 * 6 + 3] = 7  # tile 1, group 1, quad 6, output 5, input 3
    assert int(tiled(codes, 8)[1, 1, 6, 5, 3]) == 7
    assert int(tiled(codes, 4)[1, 1, 2, 5, 3]) == 8 + (8 + 7) * 16


@BITS
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_weight_that_is_not_finite_is_refused(bits: int, bad: float) -> None:
    weight = random(4, 40)
    weight[2, 37] = bad
    for function in (rounded, kernels.rounded_tiles):
        with pytest.raises(CutawayError, match="not finite"):
            function(weight, bits)
