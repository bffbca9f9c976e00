"""A plan in memory: operations and the buffers between them, as `plan.cpp` reads them. In: operations. Out: one native call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor

from ..native.loader import PLACE, SIZE, Library

LINE = 16  # floats of a line of the cache: vectors begin on one


class Kind(IntEnum):
    """The operations, in the order of plan.cpp."""

    LOOK_UP = 0
    ADD = 1
    MULTIPLY = 2
    SCALE = 3
    TANH = 4
    CLAMP = 5
    ACTIVATE = 6
    LAYER_NORM = 7
    RMS_NORM = 8
    ANGLES = 9
    ROTATE = 10
    PRODUCT = 11
    ATTEND = 12


class Place(ctypes.Structure):
    """Where the vectors of some tokens lie. own: floats from one thread's to the next's, row: from one token's to the next's; 0:
    there is one for all. No data: the result."""

    _fields_ = (("data", PLACE), ("own", SIZE), ("row", SIZE))


class Op(ctypes.Structure):
    """One operation. See plan.cpp."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "variant", "waits", "is_shared")),
        ("size", SIZE),
        ("count", SIZE),
        *((name, Place) for name in ("a", "b", "c", "out")),
        ("weight", PLACE),
        ("bias", PLACE),
        ("numbers", c_float * 2),
        ("wholes", SIZE * 6),
        ("more", PLACE),
        ("prepare", PLACE),
        ("rows", PLACE),
    )


class Step(ctypes.Structure):
    """What differs from pass to pass.

    count: of tokens; start: where the first of them goes; read: whose logits, from this one on, are made by the operations from
    `head` on; ids: int64 of each token. capacity, form, values, scales, fields: of the store; result: where the logits go.
    """

    _fields_ = (
        *((name, SIZE) for name in ("count", "start", "read", "head", "is_causal", "capacity", "form")),
        *((name, PLACE) for name in ("ids", "values", "scales", "fields", "result")),
    )


@dataclass(eq=False)
class Vector:
    """A vector between operations. is_shared: the threads make it together; fixed: a tensor that holds it beforehand."""

    size: int
    is_shared: bool = False
    fixed: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation before it has memory. The fields are those of `Op`; weight, bias and more are addresses, 0 for none."""

    kind: Kind
    inputs: Sequence[Vector]
    out: Vector
    size: int
    count: int = 1
    variant: int = 0
    weight: int = 0
    bias: int = 0
    numbers: Sequence[float] = ()
    wholes: Sequence[int] = ()
    more: int = 0
    prepare: int = 0
    rows: int = 0
    prepared: Vector | None = None


@dataclass(kw_only=True)
class Program:
    """Operations with their memory. result: the last one's; num_threads, num_tokens: for how many there is memory at once; kept:
    what lives on."""

    kernels: Library
    operations: Sequence[Operation]
    result: Vector
    num_threads: int
    num_tokens: int = 1
    kept: Sequence[object] = ()
    memory: Tensor = field(init=False)
    ops: ctypes.Array[Op] = field(init=False)

    def __post_init__(self) -> None:
        waits = _waits(self.operations)
        shared, shared_size = self._laid(waits, is_shared=True)
        own, own_size = self._laid(waits, is_shared=False)
        self.memory = torch.zeros(shared_size + own_size * self.num_threads + LINE)
        start = _up(self.memory.data_ptr(), 4 * LINE)
        places = {id(vector): Place(start + 4 * offset, 0, vector.size) for vector, offset in shared}
        places |= {
            id(vector): Place(start + 4 * (shared_size + offset), own_size, vector.size) for vector, offset in own
        }
        places[id(self.result)] = Place(None, 0, self.result.size)
        self.ops = (Op * len(self.operations))(
            *(_op(operation, places, wait) for operation, wait in zip(self.operations, waits, strict=True))
        )

    def replay(self, now: Step, count: int | None = None) -> None:
        """Run the operations, or the first `count` of them."""
        self.kernels.replay(
            ctypes.addressof(self.ops),
            len(self.ops) if count is None else count,
            ctypes.addressof(now),
            self.num_threads,
        )

    def _laid(self, waits: Sequence[bool], *, is_shared: bool) -> tuple[list[tuple[Vector, int]], int]:
        """Where the vectors lie that are shared, or those that each thread has for itself; and how many floats they take.

        A vector lies where one lay that is not read any more, so that memory stays in the nearest cache. A thread that is ahead
        must not write where one behind still reads: what is shared is free again once the threads have waited for each other.
        """
        last = {id(vector): index for index, each in enumerate(self.operations) for vector in each.inputs}
        free: dict[int, list[int]] = {}
        found, end, living = list[tuple[Vector, int]](), 0, list[tuple[int, int, int]]()
        for index, operation in enumerate(self.operations):
            for entry in [entry for entry in living if entry[0] < index and (waits[index] or not is_shared)]:
                living.remove(entry)
                free.setdefault(entry[1], []).append(entry[2])
            for vector in (operation.prepared, operation.out):
                if vector is None or vector.is_shared != is_shared or vector is self.result:
                    continue
                size = _up(vector.size * self.num_tokens, LINE)
                if free.get(size):
                    offset = free[size].pop()
                else:
                    offset, end = end, end + size
                found.append((vector, offset))
                living.append((last.get(id(vector), index), size, offset))
        return found, end


def _op(operation: Operation, places: dict[int, Place], waits: bool) -> Op:
    def place(vector: Vector) -> Place:
        return Place(vector.fixed.data_ptr(), 0, 0) if vector.fixed is not None else places[id(vector)]

    made = Op(kind=operation.kind, variant=operation.variant, waits=waits, is_shared=operation.out.is_shared)
    made.size, made.count = operation.size, operation.count
    for name, vector in zip("abc", operation.inputs, strict=False):
        setattr(made, name, place(vector))
    if operation.prepared is not None:
        made.c = place(operation.prepared)
    made.out = place(operation.out)
    made.weight, made.bias, made.more = operation.weight, operation.bias, operation.more
    made.prepare, made.rows = operation.prepare, operation.rows
    made.numbers[: len(operation.numbers)] = operation.numbers
    made.wholes[: len(operation.wholes)] = operation.wholes
    return made


def _waits(operations: Sequence[Operation]) -> list[bool]:
    """Before which operations the threads wait for each other: those that read what was shared since they last did."""
    waits, fresh = [], set[int]()
    for operation in operations:
        must = any(id(vector) in fresh for vector in operation.inputs)
        if must:
            fresh.clear()
        if operation.out.is_shared:
            fresh.add(id(operation.out))
        waits.append(must)
    return waits


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
