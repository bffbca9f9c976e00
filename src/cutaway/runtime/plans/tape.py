"""The operations of a plan, one by one. In: vectors of one token. Out: the vector that an operation makes, and the list of all.

Each method names its slow twin: the leaf of the readable pass that computes the same. Nothing runs here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...config import Activation
from ...model.call import Spec
from ...model.position import AlibiBias, RelativeBias, distance_bucket
from ..activation import NAMES
from ..native.loader import Library
from ..quantised.kernels import RowProduct
from .program import Kind, Operation, Program, Vector

LONG = 8192  # numbers: a vector from here on is made by all threads together
TOKEN, POSITION = 0, 1  # by what a row is looked up


class Tape:
    """Operations in the order in which they run. tensors: all whose memory they read; is_rounded: whether products prepare x."""

    def __init__(self, kernels: Library) -> None:
        self.kernels = kernels
        self.operations: list[Operation] = []
        self.tensors: list[Tensor] = []
        self.kept: list[object] = []
        self.is_rounded = False

    def program(self, result: Vector, num_threads: int) -> Program:
        """What was taped, with memory."""
        operations, kept = list(self.operations), [*self.kept, *self.tensors]
        if operations[-1].kind in (Kind.LOOK_UP, Kind.LAYER_NORM, Kind.RMS_NORM, Kind.ANGLES, Kind.ROTATE):
            last = Vector(result.size)  # each thread makes these for itself, and a result is one for all
            operations.append(Operation(kind=Kind.SCALE, inputs=[result], out=last, size=last.size, numbers=[1.0]))
            result = last
        result.is_shared = True  # never written by two threads
        return Program(kernels=self.kernels, operations=operations, result=result, num_threads=num_threads, kept=kept)

    def fixed(self, tensor: Tensor) -> Vector:
        """A vector that is there beforehand."""
        self._place(tensor)
        return Vector(tensor.numel(), fixed=tensor)

    def look_up(self, table: Tensor, by: int, *, scale: float = 1.0, offset: int = 0) -> Vector:
        """A row of a table, that of the token or of its position. Slow twins: TokenEmbedding, PositionTable."""
        return self._new(
            Kind.LOOK_UP, table.shape[1], variant=by, weight=self._place(table), numbers=[scale], wholes=[offset]
        )

    def add(self, x: Vector, y: Vector) -> Vector:
        """x + y. Slow twin: torch.add."""
        return self._of_numbers(Kind.ADD, x, y)

    def multiply(self, x: Vector, y: Vector) -> Vector:
        """x ∘ y. Slow twin: torch.mul."""
        return self._of_numbers(Kind.MULTIPLY, x, y)

    def scale(self, x: Vector, factor: float) -> Vector:
        """x · factor. Slow twin: torch.mul."""
        return self._of_numbers(Kind.SCALE, x, numbers=[factor])

    def tanh(self, x: Vector) -> Vector:
        """tanh(x). Slow twin: torch.tanh."""
        return self._of_numbers(Kind.TANH, x)

    def clamp(self, x: Vector, low: float, high: float) -> Vector:
        """x held from low to high. Slow twin: torch.clamp."""
        return self._of_numbers(Kind.CLAMP, x, numbers=[low, high])

    def activate(self, x: Vector, activation: Activation) -> Vector:
        """f(x). Slow twins: `model.feedforward.ACTIVATIONS`."""
        return self._of_numbers(Kind.ACTIVATE, x, variant=NAMES.index(activation))

    def layer_norm(self, x: Vector, weight: Tensor, bias: Tensor | None, eps: float) -> Vector:
        """Every stretch of x as long as the weight, normalised. Slow twin: LayerNorm."""
        count, places = x.size // len(weight), (self._place(weight), self._place(bias))
        return self._new(
            Kind.LAYER_NORM, x.size, x, size=len(weight), count=count, weight=places[0], bias=places[1], numbers=[eps]
        )

    def rms_norm(self, x: Vector, weight: Tensor, offset: float, eps: float) -> Vector:
        """Every stretch of x as long as the weight, normalised. Slow twin: RmsNorm."""
        count = x.size // len(weight)
        return self._new(
            Kind.RMS_NORM,
            x.size,
            x,
            size=len(weight),
            count=count,
            weight=self._place(weight),
            numbers=[eps, offset],
        )

    def angles(self, frequencies: Tensor, factor: float) -> Vector:
        """cos and sin of the position, side by side. Slow twin: Rotary."""
        pairs = len(frequencies)
        return self._new(Kind.ANGLES, 2 * pairs, size=pairs, weight=self._place(frequencies), numbers=[factor])

    def rotate(self, x: Vector, angles: Vector, d_head: int, *, is_interleaved: bool) -> Vector:
        """Every head of x, turned. Slow twin: `model.position.rotate`."""
        return self._new(
            Kind.ROTATE,
            x.size,
            x,
            angles,
            size=d_head,
            count=x.size // d_head,
            variant=int(is_interleaved),
            wholes=[angles.size // 2],
        )

    def product(self, x: Vector, row_product: RowProduct) -> Vector:
        """W · x + b. Slow twin: the projection that hands out the product."""
        self.kept.append(row_product)
        self.tensors += row_product.tensors
        self.is_rounded |= row_product.prepared_bytes > 0
        return self._new(
            Kind.PRODUCT,
            row_product.d_out,
            x,
            is_shared=True,
            wholes=[row_product.step],
            more=ctypes.addressof(row_product.matrix),
            prepare=row_product.prepare,
            rows=row_product.rows,
            prepared=Vector(-(-row_product.prepared_bytes // 4)) if row_product.prepare else None,
        )

    def attend(
        self,
        spec: Spec,
        q: Vector,
        k: Vector,
        v: Vector,
        *,
        layer: int,
        d_head: int,
        window: int | None = None,
        sinks: int = 0,
        bias: AlibiBias | RelativeBias | None = None,
    ) -> Vector:
        """The keys so far and k, asked by q; k and v enter the store. Slow twin: `model.attend.readable`."""
        variant, at_bias, more, farthest = self._bias(bias)
        wholes = [q.size // d_head, k.size // d_head, layer, window or 0, sinks, farthest]
        return self._new(
            Kind.ATTEND,
            q.size,
            q,
            k,
            v,
            is_shared=True,
            size=d_head,
            variant=variant,
            bias=at_bias,
            more=more,
            numbers=[spec.scale, spec.softcap or 0.0],
            wholes=wholes,
        )

    def _bias(self, bias: AlibiBias | RelativeBias | None) -> tuple[int, int, int, int]:
        """Variant, the address of the numbers, that of each distance's bucket, and the greatest distance with one of its own."""
        if bias is None:
            return 0, 0, 0, 0
        if isinstance(bias, AlibiBias):
            return 1, self._place(bias.slopes), 0, 0
        farthest = bias.config.max_distance
        buckets = distance_bucket(torch.arange(-farthest, farthest + 1), bias.config).int()
        self.kept.append(buckets)
        return 2, self._place(bias.weight), buckets.data_ptr(), farthest

    def _of_numbers(self, kind: Kind, *inputs: Vector, variant: int = 0, numbers: Sequence[float] = ()) -> Vector:
        """An operation number by number; of long vectors, each thread makes a part."""
        size = inputs[0].size
        return self._new(kind, size, *inputs, variant=variant, numbers=numbers, is_shared=size >= LONG)

    def _new(
        self, kind: Kind, d_out: int, *inputs: Vector, is_shared: bool = False, size: int | None = None, **rest: Any
    ) -> Vector:
        out = Vector(d_out, is_shared)
        self.operations.append(
            Operation(kind=kind, inputs=inputs, out=out, size=d_out if size is None else size, **rest)
        )
        return out

    def _place(self, tensor: Tensor | None) -> int:
        """Where a tensor lies; it is kept, and watched for moving."""
        if tensor is None:
            return 0
        self.tensors.append(tensor)
        return tensor.data_ptr()
