"""What one pass of a stack is given. In: tokens, attend, store, memory, watch, gates, types. Out: the same, layer by layer.

Nothing is read from globals. `Stack.begin` makes one `Frame` per layer type, once per pass; `call.at(layer, kind)` is what a
layer receives: its store and memory slots hold tensors and never a layer number, so that one compiled graph serves all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from .visibility import Flag, Tokens, allow


@dataclass(frozen=True, slots=True)
class Spec:
    """What a kernel must know of an attention layer; holds no tensor. site: `attention.` or `cross.`."""

    site: str
    scale: float
    softcap: float | None = None


class Watch(Protocol):
    """Someone who looks: is asked which sites it wants, receives their tensors and returns them, recorded or replaced."""

    def wants(self, site: str) -> bool:
        """Whether this site is watched."""

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """Receive the tensor of a site; what is returned takes its place."""


class Slot(Protocol):
    """One layer's keys and values."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add k, v: [batch, kv_head, position, d_head]; return all of them so far."""


Keys = Tokens | Mapping[str, Tokens]
"""The key side that a pass sees; by layer type where they keep different tokens."""


def keys_of(keys: Keys, kind: str) -> Tokens:
    """The key side of the layers of one type."""
    return keys[kind] if isinstance(keys, Mapping) else keys


class Store(Protocol):
    """The keys and values of a session, all layers, and the visibility of their tokens."""

    def begin(self, tokens: Tokens) -> Keys:
        """Add the key side of a pass, once for all layers; return the key side of everything in the store that it can see."""

    def layer(self, index: int) -> Slot:
        """The slot of one layer for this pass."""


class Attend(Protocol):
    """An attention kernel."""

    def __call__(self, spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
        """q: [batch, head, query, d_head] -> [batch, head, query, d_head]."""


class Passing:
    """The store of a pass that keeps nothing: keys are this pass's own."""

    def begin(self, tokens: Tokens) -> Tokens:
        """The tokens themselves."""
        return tokens

    def layer(self, index: int) -> Passing:  # noqa: ARG002 (the same for every layer)
        """Itself."""
        return self

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Only what this pass brought."""
        return k, v


PASSING = Passing()


@dataclass(slots=True)
class Frame:
    """What all layers of one type share in a pass.

    flag: a promise instead of a mask. mask: [batch, 1, query, key] bool; None under a flag, and where it is causal until somebody
    asks for it. bias: [batch, head, query, key] added to the scores. cos, sin: [batch, 1, position, d_rotated].
    """

    queries: Tokens
    keys: Tokens
    flag: Flag = None
    mask: Tensor | None = None
    bias: Tensor | None = None
    cos: Tensor | None = None
    sin: Tensor | None = None
    window: int | None = None
    sinks: int = 0

    def allowed(self) -> Tensor:
        """The dense mask, whatever the flag promises: [batch, 1, query, key] of bool. What no flag stands for is made once."""
        if self.mask is not None:
            return self.mask
        mask = allow(self.queries, self.keys, self.window, self.sinks).unsqueeze(1)
        if self.flag is None:
            self.mask = mask
        return mask

    @property
    def is_causal(self) -> bool:
        """Whether the queries are the last of the keys, and each sees itself and all before it."""
        queries, keys = self.queries, self.keys
        is_whole = self.window is None or self.window >= len(keys)
        return is_whole and queries.flag == keys.flag == "causal" and len(queries) <= len(keys)


@dataclass(slots=True)
class MemorySlot:
    """The memory as one layer sees it. k, v: [batch, kv_head, source, d_head] when they were filled beforehand."""

    states: Tensor
    frame: Frame
    k: Tensor | None = None
    v: Tensor | None = None


class Filled(Protocol):
    """Every layer's keys and values of a memory, [batch, kv_head, source, d_head]: a list, or what reads them otherwise."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(slots=True)
class Memory:
    """An encoder's output. states: [batch, source, d_model]; tokens: its visibility; filled: each layer's k, v, or none."""

    states: Tensor
    tokens: Tokens
    filled: Filled = field(default_factory=list)
    frame: Frame | None = None

    def layer(self, index: int) -> MemorySlot:
        """The slot of one layer; `frame` was made by `Stack.begin`."""
        assert self.frame is not None, "Stack.begin makes the frame of the memory"
        k, v = self.filled[index] if len(self.filled) else (None, None)
        return MemorySlot(self.states, self.frame, k, v)

    def select(self, rows: Tensor) -> Memory:
        """The memory of these rows, any number of times each. rows: [batch]."""
        fields = self.tokens.fields
        tokens = Tokens(fields if fields.shape[1] == 1 else fields[:, rows], self.tokens.flag)
        return Memory(self.states[rows], tokens, [(k[rows], v[rows]) for k, v in self.filled])


@dataclass(slots=True)
class Call:
    """One pass of one stack, or (from `at`) of one layer in it.

    tokens: visibility. attend: the kernel, None for the readable softmax. store, memory: of the pass, or the layer's slots.
    watch: who looks. gates: name -> [batch, position], read by gated projections. frame: the layer's. scope: the site prefix.
    types: [batch, position] of each token's type, for stacks that have them; None: all 0.
    """

    tokens: Tokens
    attend: Attend | None = None
    store: Store | Slot = PASSING
    memory: Memory | MemorySlot | None = None
    watch: Watch | None = None
    gates: Mapping[str, Tensor] = field(default_factory=dict)
    frame: Frame | None = None
    frames: Mapping[str, Frame] = field(default_factory=dict)
    scope: str = ""
    types: Tensor | None = None

    def tap(self, site: str, x: Tensor) -> Tensor:
        """x itself, or what the watcher makes of it. Off, it costs one comparison and changes no bit."""
        if self.watch is None:
            return x
        return self.watch(self.scope + site, x)

    def watches(self, site: str) -> bool:
        """Whether someone looks at this site of this layer."""
        return self.watch is not None and self.watch.wants(self.scope + site)

    def at(self, layer: int, kind: str) -> Call:
        """The call of one layer. Without a watcher the scope stays empty: nothing names the layer, one graph serves all."""
        memory = self.memory.layer(layer) if isinstance(self.memory, Memory) else None
        scope = f"{self.scope}layers.{layer}." if self.watch is not None else ""
        slot = self.store.layer(layer)  # type: ignore[union-attr]
        return Call(self.tokens, self.attend, slot, memory, self.watch, self.gates, self.frames[kind], {}, scope)

    def across(self) -> Call:
        """The layer's call turned to the memory: its frame, and nothing to store."""
        assert isinstance(self.memory, MemorySlot), "cross-attention needs a memory; open the session with source ids"
        return replace(self, store=PASSING, frame=self.memory.frame)
