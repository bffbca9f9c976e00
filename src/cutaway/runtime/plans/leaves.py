"""The leaves of the model as operations. In: a module of the model. Out: the same module in a copy that records, or why not.

Every module is known by its exact type: containers, whose forward runs as it is written, and leaves, of which each becomes one
operation. Anything else has no plan.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...config import Activation
from ...model.attention import Attention, HeadNorm
from ...model.block import Block, ParallelBlock, Post, Pre
from ...model.embedding import Embedding, NoTable, NoTypes, PositionTable, TokenEmbedding, TypeTable
from ...model.feedforward import FeedForward, GatedFeedForward, gated
from ...model.head import Head, NoTransform, Transform
from ...model.norm import LayerNorm, RmsNorm
from ...model.position import AlibiBias, RelativeBias, Rotary
from ...model.projection import Projection
from ...model.transformer import Stack, Transformer
from ..activation import KINDS, NAMES
from ..kernels import NativeProjection
from ..rows import NativeRmsNorm
from .guard import Guard
from .product import HasRowProduct, dense
from .program import Vector
from .symbol import Symbol, symbol_of, unplanned
from .tape import POSITION, TOKEN, Tape

CONTAINERS = (
    nn.Identity, nn.ModuleDict, nn.ModuleList, Transformer, Stack, Embedding, NoTypes, Block, ParallelBlock, Pre, Post,
    HeadNorm, Head, NoTransform,
)  # fmt: skip

KNOBS: Mapping[type, tuple[str, ...]] = {
    Head: ("scale", "softcap"),
    Stack: ("config",),
}  # what containers' forwards read


class Angles:
    """cos and sin of this token's position, which only `rotate` reads: one vector holds both."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector


class Recording:
    """One recording: a copy of the model's modules, whose leaves write on a tape. The model itself stays as it is.

    guard: what the plan will stand on: modules, parameters and knobs, as they are now.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape, self.guard = tape, Guard()
        self._made: dict[int, nn.Module] = {}
        self._leaves: dict[type, Callable[[Any, Any], None]] = {
            TokenEmbedding: self._token, PositionTable: self._position, NoTable: self._no_table, TypeTable: self._types,
            LayerNorm: self._layer_norm, RmsNorm: self._rms_norm, NativeRmsNorm: self._rms_norm,
            Projection: self._dense, NativeProjection: self._dense,
            Rotary: self._rotary, RelativeBias: self._bias, AlibiBias: self._bias, Attention: self._attention,
            FeedForward: self._activation, GatedFeedForward: self._activation, Transform: self._activation,
        }  # fmt: skip

    def copied(self, module: nn.Module) -> nn.Module:
        """The module, recording. Raises UnplannedError for what a plan does not know."""
        if id(module) in self._made:
            return self._made[id(module)]
        leaf = self._leaves.get(type(module))
        if leaf is None and isinstance(module, HasRowProduct):
            leaf = self._own
        if leaf is None and type(module) not in CONTAINERS:
            unplanned(f"it holds a {type(module).__name__}, which a plan does not know")
        if "forward" in module.__dict__:
            unplanned(f"a {type(module).__name__} has a forward of its own")
        self.guard.watch(module)
        for name in KNOBS.get(type(module), ()):
            self.guard.knob(module, name)
        made = self._made[id(module)] = copy.copy(module)
        made.__dict__["_modules"] = {
            name: None if child is None else self.copied(child) for name, child in module._modules.items()
        }
        if leaf is not None:
            leaf(module, made)
        return made

    def _token(self, module: TokenEmbedding, made: nn.Module) -> None:
        scale = self.guard.knob(module, "scale")

        def forward(_: object) -> Symbol:
            return self._vector(self.tape.look_up(full(module.weight), TOKEN, scale=scale))

        put(made, "forward", forward)

    def _position(self, module: PositionTable, made: nn.Module) -> None:
        offset = self.guard.knob(module, "offset")

        def forward(_: Tensor) -> Symbol:
            weight = module.weight
            assert isinstance(weight, Tensor), "learned or computed"
            return self._vector(self.tape.look_up(full(weight), POSITION, offset=offset))

        put(made, "forward", forward)

    def _no_table(self, _: NoTable, made: nn.Module) -> None:
        put(made, "forward", lambda _: Symbol(self.tape, None, (1, 1, 1)))

    def _types(self, module: TypeTable, made: nn.Module) -> None:
        def forward(x: Symbol, call: Any) -> Symbol:
            if call.types is not None:
                unplanned("its tokens have types")
            self.tape.tensors.append(full(module.weight))
            return x + x.like(self.tape.fixed(module.weight.detach()[0]))

        put(made, "forward", forward)

    def _layer_norm(self, module: LayerNorm, made: nn.Module) -> None:
        eps = self.guard.knob(module, "eps")

        def forward(x: Symbol) -> Symbol:
            bias = None if module.bias is None else full(module.bias)
            return symbol_of(x).like(self.tape.layer_norm(x.known, full(module.weight), bias, eps))

        put(made, "forward", forward)

    def _rms_norm(self, module: RmsNorm, made: nn.Module) -> None:
        eps, offset = self.guard.knob(module, "eps"), self.guard.knob(module, "offset")

        def forward(x: Symbol) -> Symbol:
            return symbol_of(x).like(self.tape.rms_norm(x.known, full(module.weight), offset, eps))

        put(made, "forward", forward)

    def _dense(self, module: Projection, made: nn.Module) -> None:
        def forward(x: Symbol, _: object) -> Symbol:
            bias = None if module.bias is None else full(module.bias)
            return self._vector(self.tape.product(x.known, dense(self.tape.kernels, full(module.weight), bias)))

        put(made, "forward", forward)

    def _own(self, module: HasRowProduct, made: nn.Module) -> None:
        def forward(x: Symbol, _: object) -> Symbol:
            row_product = module.row_product()
            if row_product is None:
                unplanned(f"a {type(module).__name__} has no native product here")
            return self._vector(self.tape.product(x.known, row_product))

        put(made, "forward", forward)

    def _rotary(self, module: Rotary, made: nn.Module) -> None:
        factor = self.guard.knob(module, "factor")

        def forward(_: Tensor) -> tuple[Angles, Angles]:
            angles = Angles(self.tape.angles(full(module.frequencies), factor))
            return angles, angles

        put(made, "forward", forward)

    def _bias(self, module: RelativeBias | AlibiBias, made: nn.Module) -> None:
        put(made, "forward", lambda *_: module)

    def _attention(self, module: Attention, made: nn.Module) -> None:
        self.guard.knob(module, "spec")
        self.guard.knob(module, "d_head")
        is_interleaved = self.guard.knob(module, "is_interleaved")

        def turn(x: Symbol, call: Any) -> Symbol:
            angles = call.frame.cos
            if angles is None:
                return x
            assert isinstance(angles, Angles), "made by a rotary leaf"
            return x.like(self.tape.rotate(x.known, angles.vector, module.d_head, is_interleaved=is_interleaved))

        put(made, "turn", turn)

    def _activation(self, module: FeedForward | Transform, made: nn.Module) -> None:
        name = activation_of(self.guard.knob(module, "activate"))
        if isinstance(module, FeedForward):
            self.guard.knob(module, "clamp")
        if isinstance(module, GatedFeedForward):
            put(made, "gate", gated)
        put(made, "activate", lambda x: x.like(self.tape.activate(x.known, name)))

    def _vector(self, vector: Vector) -> Symbol:
        return Symbol(self.tape, vector, (1, 1, vector.size))


def put(module: nn.Module, name: str, function: Callable[..., Any]) -> None:
    """A method of this one copy."""
    module.__dict__[name] = function


def full(tensor: Tensor) -> Tensor:
    """A tensor that the kernels read. Raises UnplannedError for other types and places."""
    if tensor.dtype is not torch.float32 or not tensor.is_cpu or not tensor.is_contiguous():
        unplanned("its weights are not all in fp32, contiguous, on the processor")
    return tensor


def activation_of(function: Callable[[Tensor], Tensor]) -> Activation:
    """The name of an activation. Raises UnplannedError for one that is not the model's."""
    kind = KINDS.get(function)
    return unplanned("its activation is one that a plan does not know") if kind is None else NAMES[kind]
