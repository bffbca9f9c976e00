"""What a projection hands out so that a plan can run it. In: a matrix in any format. Out: the addresses of its native rows.

    prepare(matrix, x, prepared):                 what all rows need of x first, say x in int8; called by every thread for itself
    rows(matrix, x, prepared, out, first, last):  out[first … last] = rows first … last of W · x + b

Both are C functions; `matrix` is a structure of theirs. Rows are shared among threads in multiples of `step`.
"""

from __future__ import annotations

import ctypes
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..native.loader import PLACE, SIZE, Library
from ..quantised.kernels import OneRow


class DenseMatrix(ctypes.Structure):
    """A matrix in full precision and its bias, as `rows_dense` reads it."""

    _fields_ = (("weight", PLACE), ("bias", PLACE), ("depth", SIZE), ("columns", SIZE))


@runtime_checkable
class HasOneRow(Protocol):
    """A projection that plans can run: it computes W · x + b of one row in fp32, and nothing else."""

    def one_row(self) -> OneRow | None:
        """Its product with one row, or None where it has none here: the readable pass then runs."""


def dense(kernels: Library, weight: Tensor, bias: Tensor | None) -> OneRow:
    """W · x + b in fp32. weight: [d_out, d_in]; bias: [d_out] or None. Slow twin: F.linear; of the bits of `product_few`."""
    d_out, d_in = weight.shape
    return OneRow(
        d_in=d_in,
        d_out=d_out,
        rows=address(kernels.rows_dense),
        prepare=0,
        prepared_bytes=0,
        matrix=DenseMatrix(weight.data_ptr(), None if bias is None else bias.data_ptr(), d_in, d_out),
        tensors=(weight,) if bias is None else (weight, bias),
        step=4,
    )


def address(function: object) -> int:
    """Where a C function lies."""
    place = ctypes.cast(function, PLACE).value  # type: ignore[arg-type]
    assert place, "a function of the library"
    return place
