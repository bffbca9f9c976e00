"""What a projection hands out so that a plan can run it. In: a matrix in any format. Out: the addresses of its native rows.

    prepare(matrix, count, x, prepared):                what is needed of x first, say x in int8; every thread calls it for itself
    rows(matrix, count, x, prepared, out, first, last): out[:, first … last] = outputs first … last of W · x + b, of each row of x

Both are C functions; `matrix` is a structure of theirs. Outputs are shared among threads in multiples of `step`.
"""

from __future__ import annotations

import ctypes
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..native.loader import PLACE, SIZE, Library
from ..quantised.kernels import RowProduct


class DenseMatrix(ctypes.Structure):
    """A matrix in full precision and its bias, as `rows_dense` reads it."""

    _fields_ = (("weight", PLACE), ("bias", PLACE), ("depth", SIZE), ("columns", SIZE))


@runtime_checkable
class HasRowProduct(Protocol):
    """A projection that plans can run: it computes W · x + b in fp32, and nothing else."""

    def row_product(self) -> RowProduct | None:
        """Its product with a few rows, or None where it has none here: the readable pass then runs."""


def dense(kernels: Library, weight: Tensor, bias: Tensor | None) -> RowProduct:
    """W · x + b in fp32. weight: [d_out, d_in]; bias: [d_out] or None. Slow twin: F.linear; of the bits of `product_few`."""
    d_out, d_in = weight.shape
    return RowProduct(
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
