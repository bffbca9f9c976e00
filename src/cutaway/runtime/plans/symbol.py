"""What stands for a tensor while a pass of one token is recorded. In: what the forward asks of it. Out: operations on the tape.

A symbol has a shape and no numbers. Of one token, all axes but one or two have length 1, so that moving them moves nothing. What
a symbol does not know, above all its value, ends the recording: the readable pass then runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from .program import Vector
from .tape import Tape


class UnplannedError(Exception):
    """A pass that has no plan; the message says why."""


def unplanned(why: str) -> NoReturn:
    """End the recording."""
    raise UnplannedError(why)


class Symbol:
    """A tensor of one token. vector: None for zeros, which add nothing (a position that no table holds)."""

    dtype = torch.float32

    def __init__(self, tape: Tape, vector: Vector | None, shape: tuple[int, ...]) -> None:
        self.tape, self.vector, self.shape = tape, vector, torch.Size(shape)
        assert vector is None or math.prod(shape) == vector.size, "a shape of as many numbers"

    @property
    def known(self) -> Vector:
        """The vector itself. Raises UnplannedError for zeros."""
        return self.vector if self.vector is not None else unplanned("it computes on zeros, which a plan leaves out")

    def like(self, vector: Vector) -> Symbol:
        """Another vector in this shape."""
        return Symbol(self.tape, vector, self.shape)

    def __add__(self, other: Any) -> Symbol:
        """Of two symbols."""
        mine, theirs = self._pair(other, "+")
        if mine.vector is None or theirs.vector is None:
            return theirs if mine.vector is None else mine
        return self.like(self.tape.add(mine.vector, theirs.vector))

    def __mul__(self, other: Any) -> Symbol:
        """Of two symbols, or of a symbol and a number."""
        if type(other) in (int, float):
            return self.like(self.tape.scale(self.known, other))
        mine, theirs = self._pair(other, "*")
        return self.like(self.tape.multiply(mine.known, theirs.known))

    def __truediv__(self, other: Any) -> Symbol:
        """By a number."""
        if type(other) not in (int, float):
            unplanned("it divides by a tensor, which a plan does not know")
        return self.like(self.tape.scale(self.known, 1.0 / other))

    def clamp(self, min: float | None = None, max: float | None = None) -> Symbol:
        """As of a tensor."""
        low, high = -math.inf if min is None else min, math.inf if max is None else max
        return self.like(self.tape.clamp(self.known, low, high))

    def to(self, dtype: torch.dtype) -> Symbol:
        """Itself: all of a plan is fp32."""
        return self if dtype is self.dtype else unplanned(f"it computes in {dtype}, and a plan in fp32")

    def expand_as(self, other: Symbol) -> Symbol:
        """Itself, where it has that shape, or zeros."""
        if self.vector is None or self.shape == other.shape:
            return Symbol(self.tape, self.vector, other.shape)
        return unplanned(f"it expands {list(self.shape)}, which a plan does not know")

    def transpose(self, one: int, other: int) -> Symbol:
        """Axes in another order, of which at most one is longer than 1 or they change places with one of length 1."""
        shape = list(self.shape)
        between = shape[min(one, other) : max(one, other) + 1] if min(one, other) >= 0 else shape
        if sum(length > 1 for length in between) > 1:
            unplanned(f"it turns {shape} around, which a plan does not know")
        shape[one], shape[other] = shape[other], shape[one]
        return Symbol(self.tape, self.vector, tuple(shape))

    def unflatten(self, dim: int, sizes: tuple[int, ...]) -> Symbol:
        """As of a tensor."""
        shape = torch.empty(self.shape, device="meta").unflatten(dim, sizes).shape
        return Symbol(self.tape, self.vector, shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Symbol:
        """As of a tensor."""
        shape = torch.empty(self.shape, device="meta").flatten(start_dim, end_dim).shape
        return Symbol(self.tape, self.vector, shape)

    def __getattr__(self, name: str) -> NoReturn:
        """Whatever else a tensor has."""
        unplanned(f"it asks a tensor for `{name}`, which a plan does not know")

    def __bool__(self) -> bool:
        """The value of a tensor is not there yet."""
        return unplanned("it reads the value of a tensor")

    __int__ = __float__ = __index__ = __len__ = __iter__ = __bool__

    def __getitem__(self, _: object) -> Symbol:
        """Parts of a tensor."""
        unplanned("it takes a part of a tensor, which a plan does not know")

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch's own functions make of symbols: those that the model's forward uses between its leaves."""
        if function is torch.flatten:
            return args[0].flatten(*args[1:], **(kwargs or {}))
        if function is torch.tanh and not kwargs:
            return args[0].like(args[0].tape.tanh(args[0].known))
        return unplanned(f"it calls {function.__name__}, which a plan does not know")

    def _pair(self, other: Any, sign: str) -> tuple[Symbol, Symbol]:
        if not isinstance(other, Symbol) or other.shape != self.shape:
            unplanned(f"it takes {sign} of a vector and something else, which a plan does not know")
        return self, other


def symbol_of(tensor: Tensor | Symbol) -> Symbol:
    """A symbol. Raises UnplannedError for a tensor, which was computed from what is not recorded."""
    return tensor if isinstance(tensor, Symbol) else unplanned("it computes on a tensor that was not recorded")
