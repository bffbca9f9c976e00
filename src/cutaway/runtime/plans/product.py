"""What a projection hands out so that a plan can run it. In: a matrix in any format. Out: the addresses of its native rows.

    rows(matrix, x, prepared, out, first, last):  out[first … last] = rows first … last of W · x + b
    prepare(matrix, x, prepared):                 what all rows need of x first, say x in int8; called by every thread for itself

Both are C functions; `matrix` is a structure of theirs. Rows are shared among threads in multiples of `step`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..native.loader import PLACE, SIZE, Library

PREPARE = ctypes.CFUNCTYPE(None, PLACE, PLACE, PLACE)
ROWS = ctypes.CFUNCTYPE(None, PLACE, PLACE, PLACE, PLACE, SIZE, SIZE)


class Dense(ctypes.Structure):
    """A matrix in full precision and its bias, as `rows_dense` reads it."""

    _fields_ = (("weight", PLACE), ("bias", PLACE), ("depth", SIZE), ("columns", SIZE))


@dataclass(frozen=True, kw_only=True)
class NativeOp:
    """One product with one row. tensors: whose memory it reads; when one of them moves, the plan is recorded anew.

    rows, prepare: addresses of the functions above (prepare: 0 for none); matrix: what they are given; prepared_bytes: the memory
    that `prepare` fills.
    """

    d_in: int
    d_out: int
    rows: int
    matrix: ctypes.Structure
    tensors: tuple[Tensor, ...]
    step: int = 1
    prepare: int = 0
    prepared_bytes: int = 0


@runtime_checkable
class HasNativeOp(Protocol):
    """A projection that plans can run: it computes W · x + b of one row in fp32, and nothing else."""

    def native_op(self) -> NativeOp | None:
        """Its operation, or None where it has none here: the readable pass then runs."""


def dense(kernels: Library, weight: Tensor, bias: Tensor | None) -> NativeOp:
    """W · x + b in fp32. weight: [d_out, d_in]; bias: [d_out] or None. Slow twin: F.linear; of the bits of `product_few`."""
    d_out, d_in = weight.shape
    return NativeOp(
        d_in=d_in,
        d_out=d_out,
        rows=address(kernels.rows_dense),
        matrix=Dense(weight.data_ptr(), None if bias is None else bias.data_ptr(), d_in, d_out),
        tensors=(weight,) if bias is None else (weight, bias),
        step=4,
    )


def address(function: object) -> int:
    """Where a C function lies."""
    place = ctypes.cast(function, PLACE).value  # type: ignore[arg-type]
    assert place, "a function of the library"
    return place
