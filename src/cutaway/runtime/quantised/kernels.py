"""Native products with rounded weights. In: x in fp32 on a processor, and tiles. Out: x · Wᵀ + b, or why there is none here.

Each is the best unit of the library that this processor can run and that passes a self-test; the next lower one serves where
it does not. CUTAWAY_KERNELS names the instruction set beyond which none is used (see `native.loader`), so that the absence of
one can be tried out. Slow twin: `QuantisedProjection.slow`.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Mapping
from ctypes import c_float, c_int
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native.build import LIBRARY, OTHERWISE
from ..native.loader import PLACE, SIZE, SWITCH, library, supported
from ..ops import operator
from .rounding import GROUP, TRIED, Rounded, factor_for, finite, rounded, rounded_inputs
from .tiles import OUTPUTS, QUAD, tiled, tiled_pairs, tiled_scales, untiled, untiled_scales

INTEGERS = (*[SIZE] * 3, *[PLACE] * 3, c_float, *[PLACE] * 2, c_int, c_int)
ROUNDING = (SIZE, SIZE, PLACE, c_int, c_float, PLACE, c_int, PLACE, PLACE, c_int, c_int)
LARGEST = (SIZE, PLACE, c_int, PLACE, c_int)
HALVES = (*[SIZE] * 3, *[PLACE] * 4, c_int)
LADDER = ("avx2", "avx512", "avx512vnni")  # what a processor may have, in the order of asking
FURTHER = LADDER[2]  # which the library itself must be asked for
PARTS = {"integers": ("prepare_rounded", "rows_eight", "rows_four"), "halves": ("rows_halves",)}
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Product:
    """One unit's product. instructions: of which set. parts: the same in parts (see `RowProduct`), by their names."""

    function: Callable[..., None]
    instructions: str
    parts: Mapping[str, int]


class IntegerMatrix(ctypes.Structure):
    """A matrix of 8 or 4 bits and its bias, as `rows_eight` and `rows_four` read it."""

    _fields_ = (
        *((name, PLACE) for name in ("codes", "scales", "bias")),
        ("depth", SIZE),
        ("columns", SIZE),
        ("factor", c_float),
    )


class HalfMatrix(ctypes.Structure):
    """A matrix in bf16 and its bias, as `rows_halves` reads it."""

    _fields_ = (("weights", PLACE), ("bias", PLACE), ("depth", SIZE), ("columns", SIZE))


@dataclass(frozen=True, kw_only=True)
class RowProduct:
    """The product with a few rows of x, in parts, for whoever runs it without Python.

    prepare(matrix, count, x, prepared) rounds so many rows into `prepared_bytes` of memory each; rows(matrix, count, x, prepared,
    out, first, last) then makes their outputs first … last, multiples of `step` or the end. Each row's are of the bits that it
    gives alone. Both are addresses of C functions, and every tensor here must stay alive.
    """

    d_in: int
    d_out: int
    rows: int
    prepare: int
    prepared_bytes: int
    matrix: ctypes.Structure
    tensors: tuple[Tensor, ...]
    step: int = OUTPUTS


@functools.cache
def integers() -> Product | str:
    """The product with weights of 8 and 4 bits, or a sentence why there is none."""
    return _best("integers", "product_rounded", INTEGERS, _multiplies_integers)


@functools.cache
def halves() -> Product | str:
    """The product with weights in bf16, or a sentence why there is none."""
    return _best("halves", "product_halves", HALVES, _multiplies_halves)


def multiply_integers(
    kernel: Product, x: Tensor, codes: Tensor, scales: Tensor, factor: float, d_out: int, bias: Tensor | None
) -> Tensor:
    """x: [..., d_in], fp32. codes, scales: tiles (8 bits: int8; 4: uint8) -> [..., d_out]."""
    x = x.contiguous()
    d_in, out = x.shape[-1], x.new_empty(*x.shape[:-1], d_out)
    kernel.function(
        x.numel() // d_in,
        d_out,
        d_in,
        x.data_ptr(),
        codes.data_ptr(),
        scales.data_ptr(),
        factor,
        _place(bias),
        out.data_ptr(),
        8 if codes.dtype is torch.int8 else 4,
        torch.get_num_threads(),
    )
    return out


def multiply_halves(kernel: Product, x: Tensor, pairs: Tensor, d_out: int, bias: Tensor | None) -> Tensor:
    """x: [..., d_in], fp32. pairs: tiles of bf16 -> [..., d_out]."""
    x = x.contiguous()
    d_in, out = x.shape[-1], x.new_empty(*x.shape[:-1], d_out)
    kernel.function(
        x.numel() // d_in,
        d_out,
        d_in,
        x.data_ptr(),
        pairs.data_ptr(),
        _place(bias),
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


@operator(
    "(Tensor x, Tensor codes, Tensor scales, float factor, int d_out, Tensor? bias) -> Tensor",
    lambda x, codes, scales, factor, d_out, bias: x.new_empty(*x.shape[:-1], d_out),  # noqa: ARG005 (of its shape)
)
def linear_of_integers(
    x: Tensor, codes: Tensor, scales: Tensor, factor: float, d_out: int, bias: Tensor | None
) -> Tensor:
    """As `multiply_integers`, by the unit that `integers` found."""
    return multiply_integers(_found(integers()), x, codes, scales, factor, d_out, bias)


@operator(
    "(Tensor x, Tensor pairs, int d_out, Tensor? bias) -> Tensor",
    lambda x, pairs, d_out, bias: x.new_empty(*x.shape[:-1], d_out),  # noqa: ARG005 (of its shape)
)
def linear_of_halves(x: Tensor, pairs: Tensor, d_out: int, bias: Tensor | None) -> Tensor:
    """As `multiply_halves`, by the unit that `halves` found."""
    return multiply_halves(_found(halves()), x, pairs, d_out, bias)


def rounded_tiles(weight: Tensor, bits: int) -> tuple[Tensor, Tensor, float]:
    """As `rounded`, in tiles: codes, scales and factor. weight: [d_out, d_in]. Slow twin: `rounded`, then `tiled`."""
    function = rounder()
    if function is None or not weight.is_cpu:
        found = rounded(weight, bits)
        return tiled(found.codes, bits), tiled_scales(found.scales), found.factor
    return _rounded_natively(function, weight, bits)


@dataclass(frozen=True, slots=True)
class Rounder:
    """Native functions: a weight's codes and scales; its largest |w|."""

    rounds: Callable[..., None]
    finds_largest: Callable[..., None]


@functools.cache
def rounder() -> Rounder | None:
    """The native rounding of weights, where it runs and rounds as `rounded` does."""
    instructions = next((name for name in sets() if name in OTHERWISE["rounding"]), None)
    if instructions is None:
        return None
    loaded = ctypes.CDLL(str(LIBRARY))
    found = Rounder(loaded[f"cutaway_round_weights_{instructions}"], loaded[f"cutaway_largest_weight_{instructions}"])
    found.rounds.argtypes, found.rounds.restype = ROUNDING, None  # type: ignore[attr-defined]
    found.finds_largest.argtypes, found.finds_largest.restype = LARGEST, None  # type: ignore[attr-defined]
    weight = given(35, 67, 1)
    for bits in (8, 4):
        codes, scales, factor = _rounded_natively(found, weight, bits)
        made = Rounded(codes=untiled(codes, bits), scales=untiled_scales(scales), factor=factor).weight()[:35, :67]
        wanted = (rounded(weight, bits).weight() - weight).norm()
        if not bool(((made - weight).norm() - wanted).abs() <= 1e-3 * wanted):
            return None
    return found


def _rounded_natively(rounder: Rounder, weight: Tensor, bits: int) -> tuple[Tensor, Tensor, float]:
    is_half, threads, largest = weight.dtype is torch.bfloat16, torch.get_num_threads(), c_float()
    weight = (weight if is_half else weight.float()).contiguous()
    rounder.finds_largest(weight.numel(), weight.data_ptr(), is_half, ctypes.byref(largest), threads)
    factor = factor_for(finite(largest.value), bits)
    (d_out, d_in), tried = weight.shape, torch.tensor(TRIED[bits])
    tiles, groups = -(-d_out // OUTPUTS), -(-d_in // GROUP)
    codes = torch.empty(tiles, groups, bits, OUTPUTS, QUAD, dtype=torch.int8 if bits == 8 else torch.uint8)
    scales = torch.empty(tiles, groups, OUTPUTS, dtype=torch.float16)
    places = weight.data_ptr(), is_half, 1 / factor, tried.data_ptr(), len(tried), codes.data_ptr(), scales.data_ptr()
    rounder.rounds(d_out, d_in, *places, bits, threads)
    return codes, scales, factor


def row_product_of_integers(
    kernel: Product, codes: Tensor, scales: Tensor, factor: float, shape: tuple[int, int], bias: Tensor | None
) -> RowProduct:
    """shape: d_out and d_in; the rest as of `multiply_integers`."""
    d_out, d_in = shape
    return RowProduct(
        d_in=d_in,
        d_out=d_out,
        rows=kernel.parts["rows_eight" if codes.dtype is torch.int8 else "rows_four"],
        prepare=kernel.parts["prepare_rounded"],
        prepared_bytes=-(-d_in // GROUP) * (GROUP + 8),
        matrix=IntegerMatrix(codes.data_ptr(), scales.data_ptr(), _place(bias), d_in, d_out, factor),
        tensors=(codes, scales) if bias is None else (codes, scales, bias),
    )


def row_product_of_halves(kernel: Product, pairs: Tensor, shape: tuple[int, int], bias: Tensor | None) -> RowProduct:
    """shape: d_out and d_in; the rest as of `multiply_halves`."""
    d_out, d_in = shape
    return RowProduct(
        d_in=d_in,
        d_out=d_out,
        rows=kernel.parts["rows_halves"],
        prepare=0,
        prepared_bytes=0,
        matrix=HalfMatrix(pairs.data_ptr(), _place(bias), d_in, d_out),
        tensors=(pairs,) if bias is None else (pairs, bias),
    )


def serves(x: Tensor, d_in: int) -> bool:
    """Whether the products take this: fp32 of that width, on a processor, and not under mixed precision."""
    is_plain = x.dtype is torch.float32 and x.is_cpu and x.shape[-1] == d_in
    return is_plain and not torch.is_autocast_enabled("cpu")


def sets() -> list[str]:
    """The instruction sets that may be used here, best first: those of the processor, up to the one that is wanted."""
    base = library()
    if isinstance(base, str) or base.instructions not in LADDER:
        return []
    loaded, wanted = ctypes.CDLL(str(LIBRARY)), os.environ.get(SWITCH) or LADDER[-1]
    found = [name for name in LADDER if name in supported()]
    if "avx512" in found and loaded.cutaway_has_vnni_avx2():
        found.append(FURTHER)
    return [name for name in reversed(found) if LADDER.index(name) <= LADDER.index(wanted)]


def _best(unit: str, name: str, signature: tuple[type, ...], computes: Callable[[Product], bool]) -> Product | str:
    base = library()
    if isinstance(base, str):
        return base
    loaded = ctypes.CDLL(str(LIBRARY))
    for instructions in sets():
        if instructions in OTHERWISE[unit]:
            function = loaded[f"cutaway_{name}_{instructions}"]
            function.argtypes, function.restype = signature, None
            parts = {part: _address(loaded[f"cutaway_{part}_{instructions}"]) for part in PARTS[unit]}
            if computes(found := Product(function, instructions, parts)):
                return found
    return f"this processor has no instruction set that {unit} are multiplied with, or the self-test of each failed"


def _found(kernel: Product | str) -> Product:
    assert not isinstance(kernel, str), "who calls has looked whether there is one"
    return kernel


def _place(bias: Tensor | None) -> int | None:
    return None if bias is None else bias.data_ptr()


def _address(function: object) -> int:
    place = ctypes.cast(function, PLACE).value  # type: ignore[arg-type]
    assert place, "a function of the library"
    return place


def _multiplies_integers(kernel: Product) -> bool:
    """Odd sizes, one row, two and more, right to the last place that matters."""
    for bits in (8, 4):
        weight, x = given(35, 67, 1), given(15, 67, 2)
        made = rounded(weight, bits)
        codes, scales = tiled(made.codes, bits), tiled_scales(made.scales)
        for rows in (1, 2, 15):
            ours = multiply_integers(kernel, x[:rows], codes, scales, made.factor, 35, None)
            if not _is_close(ours, F.linear(rounded_inputs(x[:rows]), made.weight())):
                return False
    return True


def _multiplies_halves(kernel: Product) -> bool:
    weight, x = given(35, 2 * GROUP + 3, 1).bfloat16(), given(15, 2 * GROUP + 3, 2)
    pairs = tiled_pairs(weight)
    return all(
        _is_close(multiply_halves(kernel, x[:rows], pairs, 35, None), F.linear(x[:rows], weight.float()))
        for rows in (1, 2, 15)
    )


def given(rows: int, columns: int, step: int) -> Tensor:
    """Numbers without a pattern that a kernel could follow by chance."""
    return torch.sin(torch.arange(float(rows * columns)).view(rows, columns) * (0.7 + step))


def _is_close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= TOLERANCE * max(1.0, float(theirs.abs().max())))
