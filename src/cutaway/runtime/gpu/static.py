"""A KV store of fixed shape. In: the keys and values of each pass. Out: all so far; in steps, the whole store and who is in it.

A pass that is captured or compiled must meet the same shapes every time, so that keys, values and visibility lie in tensors that
are written in place, at a place that is itself a tensor. What lies beyond the length is in the segment of empty slots, which no
token sees. A store that may grow moves to tensors of twice the size when it is full; whoever recorded a pass over the old ones
must do so again. Slow twin: `runtime.stores.KVStore`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...config import StackConfig
from ...errors import CutawayError
from ...model.visibility import EMPTY, FIELDS, Tokens, num_causal
from .room import check_device_memory

SEGMENT = FIELDS.index("segment")


class StaticStore:
    """Per layer [batch, kv_head, position, d_head], `length` positions in use. Rows move in step, and share who sees whom.

    capacity: how many positions there are. grows: whether there may be more when these are taken. place: int64 [1], where a step
    writes. slides: it forgets nothing by itself.
    """

    slides = False

    def __init__(
        self,
        stack: StackConfig,
        *,
        batch: int = 1,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        grows: bool = False,
    ) -> None:
        self.capacity, self.length, self.causal_length, self.start = capacity, 0, 0, 0
        self.stack, self.batch, self.grows = stack, batch, grows
        shape = (batch, stack.attention.kv_heads, capacity, stack.d_head)
        # A tensor each: compilers must prove of parts of one, which are written, that they do not overlap.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(stack.num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(stack.num_layers)]
        self.fields = _empty(capacity, device)
        self.place = torch.zeros(1, dtype=torch.long, device=device)

    def begin(self, tokens: Tokens) -> Tokens:
        """A pass of any length: its key side is written, all keys so far come back. Raises CutawayError beyond the capacity."""
        self.reserve(len(tokens))
        assert tokens.fields.shape[1] == 1, "rows of a static store share who sees whom"
        self.start, end = self.length, self.length + len(tokens)
        self.fields[:, :, self.start : end] = tokens.fields
        if self.causal_length == self.start:
            self.causal_length = self.start + num_causal(tokens, self.start)
        self.length = end
        flag = "causal" if self.causal_length == end else tokens.flag if self.start == 0 else None
        return Tokens(self.fields[:, :, :end], flag)

    def layer(self, index: int) -> StaticSlot:
        """The slot of one layer, for the pass that `begin` opened."""
        return StaticSlot(self.keys[index], self.values[index], self.start, self.length)

    def reserve(self, count: int) -> None:
        """Room for so many more tokens. Raises CutawayError where they do not fit, and where there is no memory to grow into."""
        if self.length + count <= self.capacity:
            return
        if not self.grows:
            raise CutawayError(
                f"The store holds {self.capacity:,} tokens, {self.length:,} of them taken: {count:,} more do not fit. "
                "Open one with a larger capacity; this one does not grow."
            )
        capacity = self.capacity
        while capacity < self.length + count:
            capacity *= 2
        self._grow(capacity)

    def advance(self, tokens: Tokens) -> None:
        """A step has written one more token."""
        if tokens.flag == "causal" and self.causal_length == self.length:
            self.causal_length = self.length + 1
        self.length += 1

    def rewind(self, length: int) -> None:
        """Forget everything after `length` tokens, exactly. Raises CutawayError outside 0 … length."""
        if not 0 <= length <= self.length:
            raise CutawayError(
                f"Cannot rewind a store of {self.length} tokens to {length}. Allowed: 0 to {self.length}."
            )
        self.fields[SEGMENT, :, length : self.length] = EMPTY
        self.length = length
        self.causal_length = min(self.causal_length, length)

    def fork(self) -> StaticStore:
        """An independent copy."""
        twin = StaticStore.__new__(StaticStore)
        twin.__dict__.update(self.__dict__)
        twin.keys, twin.values = [k.clone() for k in self.keys], [v.clone() for v in self.values]
        twin.fields, twin.place = self.fields.clone(), self.place.clone()
        return twin

    def _grow(self, capacity: int) -> None:
        more = capacity - self.capacity
        check_device_memory(sum(k[:, :, :1].nbytes for k in (*self.keys, *self.values)) * capacity, self.device)
        with torch.inference_mode(False):  # or nobody could write into them outside of a pass
            self.keys, self.values = (
                [torch.cat([x, x.new_zeros(*x.shape[:2], more, x.shape[3])], dim=2) for x in side]
                for side in (self.keys, self.values)
            )
            self.fields = torch.cat([self.fields, _empty(more, self.device)], dim=2)
        self.capacity = capacity

    @property
    def shortest(self) -> int:
        """The least length that it can be rewound to: nothing is forgotten by itself."""
        return 0

    @property
    def num_bytes(self) -> int:
        """Bytes of keys and values in use."""
        return sum(each[:, :, : self.length].nbytes for each in (*self.keys, *self.values))

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.place.device


def _empty(count: int, device: torch.device | None) -> Tensor:
    """The visibility of slots that nobody sees."""
    fields = torch.zeros(len(FIELDS), 1, count, dtype=torch.long, device=device)
    fields[SEGMENT] = EMPTY
    return fields


@dataclass(slots=True)
class StaticSlot:
    """One layer in a pass that writes from start to end. What the store holds in another type is read in the pass's own."""

    k: Tensor
    v: Tensor
    start: int
    end: int

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: [batch, kv_head, position, d_head] of this pass -> all so far, as views of the store."""
        self.k[:, :, self.start : self.end] = k
        self.v[:, :, self.start : self.end] = v
        return self.k[:, :, : self.end].to(k.dtype), self.v[:, :, : self.end].to(v.dtype)


class Stepping:
    """A static store as a pass of one token sees it: every shape is that of the whole store, no number of Python changes."""

    def __init__(self, store: StaticStore) -> None:
        self.store = store

    def begin(self, tokens: Tokens) -> Tokens:
        """tokens: one. The whole key side, empty slots too, without a promise."""
        self.store.fields.index_copy_(2, self.store.place, tokens.fields)
        return Tokens(self.store.fields)

    def layer(self, index: int) -> StepSlot:
        """The slot of one layer."""
        return StepSlot(self.store.keys[index], self.store.values[index], self.store.place)


@dataclass(slots=True)
class StepSlot:
    """One layer in a step. place: where it writes."""

    k: Tensor
    v: Tensor
    place: Tensor

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: [batch, kv_head, 1, d_head] -> the whole store's [batch, kv_head, position, d_head]."""
        self.k.index_copy_(2, self.place, k.to(self.k.dtype))
        self.v.index_copy_(2, self.place, v.to(self.v.dtype))
        return self.k.to(k.dtype), self.v.to(v.dtype)
