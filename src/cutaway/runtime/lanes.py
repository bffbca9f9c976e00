"""What the layers of one window keep. In: the keys and values of each pass. Out: those that a pass can see, in order.

A lane is the part of a store that layers of one window share. Its entries are one a token. Under a window of W positions a
token sees the W − 1 before it and itself, so that older entries may go; `margin` more stay, so that a session can be rewound by
so many. What can go is known at the begin of a pass; it goes when its memory is wanted, in one move. Sinks, which every window
lets see, stay.

Forks share their memory (copy on write): whoever appends where another one holds an entry moves to memory of its own first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import torch
from torch import Tensor

from ..config import StackConfig
from ..errors import CutawayError
from ..model.visibility import FIELDS, Tokens, num_causal
from .budget import check_memory
from .formats import Format

SLACK: Final = 4  # a lane with a window has room for a fourth more than it must keep, so that it moves seldom
CHECKED_BYTES: Final = 2**26  # memory from this size on is asked for before it is taken


class Buffer:
    """Memory of entries, for one lane or several that share it.

    fields: [field, batch, capacity], where a batch of 1 serves every row. tensors: [layer, 2, batch, kv_head, capacity, width]
    each; 0 are keys, 1 values.
    """

    def __init__(self, fields: Tensor, tensors: tuple[Tensor, ...]) -> None:
        self.fields, self.tensors = fields, tensors
        self.holders: WeakSet[Lane] = WeakSet()

    @staticmethod
    def empty(stack: StackConfig, num_layers: int, batch: int, capacity: int, form: Format) -> Buffer:
        """Memory of zeros, on the default device."""
        shape = (num_layers, 2, batch, stack.attention.kv_heads, capacity)
        tensors = tuple(torch.zeros(*shape, width, dtype=dtype) for width, dtype in form.parts(stack.d_head))
        return Buffer(torch.zeros(len(FIELDS), 1, capacity, dtype=torch.long), tensors)

    @property
    def capacity(self) -> int:
        """How many entries there is memory for."""
        return self.fields.shape[2]

    @property
    def bytes_per_entry(self) -> int:
        """Bytes of the keys and values of one token, all layers of the lane and all rows."""
        return sum(t.element_size() * math.prod(t.shape) // self.capacity for t in self.tensors)

    def copied(self, parts: Sequence[slice], capacity: int) -> Buffer:
        """These entries, one part behind the other, in memory of their own."""
        fields = self.fields.new_zeros(*self.fields.shape[:2], capacity)
        tensors = tuple(t.new_zeros(*t.shape[:4], capacity, t.shape[5]) for t in self.tensors)
        first = 0
        for part in parts:
            end = first + part.stop - part.start
            fields[:, :, first:end] = self.fields[:, :, part]
            for new, old in zip(tensors, self.tensors, strict=True):
                new[..., first:end, :] = old[..., part, :]
            first = end
        return Buffer(fields, tensors)


@dataclass(frozen=True, slots=True)
class Reach:
    """What lanes must know of a pass. lowest: the first position of its tokens. num_ordered: how many of them, from the first on,
    stand at the positions that are next."""

    lowest: int
    num_ordered: int


class Lane:
    """The entries of the layers that share a window. length: tokens so far; dropped: how many of the first are not kept any more.

    window, sinks: of these layers; None keeps everything. margin: entries kept beyond the window.
    """

    def __init__(
        self, buffer: Buffer, form: Format, window: int | None = None, sinks: int = 0, margin: int = 0
    ) -> None:
        self.buffer, self.form = buffer, form
        self.window, self.sinks, self.margin = window, sinks if window is not None else 0, margin
        self.length = self.dropped = 0
        self.causal_length = self.ordered_length = 0
        self.base = self.sunk = 0  # the entry of token i lies at i − base + sunk; those of sinks at their own index
        self.first = self.start = 0  # of the present pass: the first entry that it sees, the first that it writes
        buffer.holders.add(self)

    @property
    def used(self) -> int:
        """Where the next entry goes."""
        return self.length - self.base + self.sunk

    @property
    def shortest(self) -> int:
        """The least length that it can be rewound to and go on exactly, beside 0."""
        return self.dropped + (self.window or 1) - 1 if self.dropped else 0

    @property
    def num_kept(self) -> int:
        """How many entries are kept."""
        return self.length - self.dropped + (self.sinks if self.dropped else 0)

    def check(self, reach: Reach) -> None:
        """Raises CutawayError for tokens that would see what is not kept any more."""
        if self.window is not None and self.dropped and reach.lowest - self.window + 1 < self.dropped:
            raise CutawayError(
                f"A token at position {reach.lowest} sees {self.window} positions back, and the store keeps nothing before "
                f"{self.dropped}. Open the session with Cache(slides=False), which keeps everything."
            )

    def begin(self, tokens: Tokens, reach: Reach) -> Tokens:
        """Make room for a pass and write its key side; the keys that it can see come back, flagged `causal` if all are."""
        start, end = self.length, self.length + len(tokens)
        first = 0 if self.window is None else self._slide(min(reach.lowest, start), self.window)
        self._reserve(len(tokens))
        if tokens.fields.shape[1] > self.buffer.fields.shape[1]:
            self.buffer.fields = self.buffer.fields.repeat(1, tokens.fields.shape[1], 1)
        self.start = self.used
        self.buffer.fields[:, :, self.start : self.start + len(tokens)] = tokens.fields
        if self.causal_length == start:
            self.causal_length = start + num_causal(tokens, start)
        if self.ordered_length == start:
            self.ordered_length = start + reach.num_ordered
        self.length = end
        self.first = 0 if self.sinks else max(0, first - self.base)
        flag = "causal" if self.causal_length == end else tokens.flag if start == 0 else None
        return Tokens(self.buffer.fields[:, :, self.first : self.used], flag)

    def begin_next(self, count: int) -> None:
        """So many more causal tokens, which somebody else writes; of a lane without a window."""
        self._reserve(count)
        self.start = self.used
        self.length += count
        self.causal_length = self.length

    def slot(self, index: int) -> KVSlot:
        """The slot of a layer for the pass that `begin` opened. index: of the layer in the lane."""
        k = tuple(tensor[index, 0] for tensor in self.buffer.tensors)
        v = tuple(tensor[index, 1] for tensor in self.buffer.tensors)
        return KVSlot(k, v, self.form, self.first, self.start, self.used)

    def read(self, index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer as they are kept, [batch, kv_head, position, d_head]; sinks first. index: as of `slot`."""
        parts = self._kept()
        held = [
            tuple(torch.cat([t[index, side][:, :, p] for p in parts], 2) for t in self.buffer.tensors)
            for side in (0, 1)
        ]
        return self.form.read(held[0], dtype), self.form.read(held[1], dtype)

    def rewind(self, length: int) -> None:
        """Forget what is after `length` tokens, at most as many as there are; not below `shortest`, but for 0."""
        self.length = min(self.length, length)
        self.causal_length = min(self.causal_length, length)
        self.ordered_length = min(self.ordered_length, length)
        if length == 0:
            self.dropped = self.base = self.sunk = 0

    def fork(self) -> Lane:
        """A twin over the same memory."""
        twin = Lane.__new__(Lane)
        twin.__dict__.update(self.__dict__)
        self.buffer.holders.add(twin)
        return twin

    def copy(self) -> Lane:
        """A twin over memory of its own."""
        twin = self.fork()
        twin._take(self.buffer.copied([slice(0, self.used)], self.buffer.capacity))
        return twin

    def reorder(self, rows: Tensor) -> None:
        """Let row b go on where row rows[b] was. rows: [batch]."""
        fields = self.buffer.fields if self.buffer.fields.shape[1] == 1 else self.buffer.fields[:, rows]
        self._take(Buffer(fields, tuple(tensor.index_select(2, rows) for tensor in self.buffer.tensors)))

    def _slide(self, lowest: int, window: int) -> int:
        """Note what may go, for tokens from position `lowest` on; the first token that they see comes back."""
        may_go = min(lowest - self.margin - window + 1, self.ordered_length)
        if may_go > max(self.dropped, self.sinks):
            self.dropped = may_go
        return max(self.dropped, min(lowest - window + 1, self.ordered_length))

    def _reserve(self, num_new: int) -> None:
        """Memory for entries behind `used` that nobody else holds. Raises CutawayError where there is not enough."""
        is_shared = any(other.used > self.used for other in self.buffer.holders if other is not self)
        if self.used + num_new <= self.buffer.capacity and not is_shared:
            return
        parts, needed = self._kept(), self.num_kept + num_new
        capacity = self._capacity(needed)
        if (wanted := needed * self.buffer.bytes_per_entry) > CHECKED_BYTES:
            check_memory(wanted, f"Keys and values of {needed:,} tokens", self.buffer.fields.device)
        self._take(self.buffer.copied(parts, capacity))
        if self.dropped:
            self.base, self.sunk = self.dropped, self.sinks

    def _kept(self) -> list[slice]:
        """Where the entries lie that are kept."""
        if not self.dropped:
            return [slice(0, self.used)]
        return [slice(0, self.sinks), slice(self.dropped - self.base + self.sunk, self.used)]

    def _capacity(self, needed: int) -> int:
        """Entries to have memory for: twice as many as before where it grows, and no more than a window asks for."""
        capacity = self.buffer.capacity
        grown = capacity if needed <= capacity else max(needed, 2 * capacity)
        if self.window is None:
            return grown
        held = self.window + self.margin + self.sinks
        return max(needed, min(grown, held + held // SLACK))

    def _take(self, buffer: Buffer) -> None:
        """Move to a buffer of its own."""
        self.buffer.holders.discard(self)
        self.buffer = buffer
        buffer.holders.add(self)


@dataclass(slots=True)
class KVSlot:
    """One layer of a store in one pass. k, v: what the format holds, each [batch, kv_head, capacity, d_head], scales 1 wide.

    first: the first entry that the pass sees. start, end: it writes from one to the other.
    """

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]
    form: Format
    first: int
    start: int
    end: int

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: [batch, kv_head, position, d_head] of this pass -> all that it sees, in the same type."""
        return self._put(self.k, k), self._put(self.v, v)

    def _put(self, held: tuple[Tensor, ...], x: Tensor) -> Tensor:
        for tensor, part in zip(held, self.form.write(x), strict=True):
            tensor[:, :, self.start : self.end] = part
        return self.form.read(tuple(tensor[:, :, self.first : self.end] for tensor in held), x.dtype)
