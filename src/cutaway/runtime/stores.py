"""KV stores. In: the keys and values of each pass. Out: all of them so far, with the visibility of their tokens.

`KVStore` holds one session (or a batch that moves in step), contiguous and growing by doubling. `PackedStore` lends the stores
of many sessions to one pass whose row holds a piece of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import StackConfig
from ..errors import CutawayError
from ..model.visibility import FIELDS, Tokens, join


class KVStore:
    """Contiguous keys and values: per layer [batch, kv_head, capacity, d_head], `length` of them in use.

    The visibility has a batch of 1 as long as it serves every row, so that rows which move in step share one mask.
    """

    def __init__(
        self, stack: StackConfig, *, batch: int = 1, capacity: int = 64, dtype: torch.dtype = torch.float32
    ) -> None:
        self.stack, self.dtype, self.capacity = stack, dtype, capacity
        self.length = 0
        self.causal_length = 0
        self.fields = torch.zeros(len(FIELDS), 1, capacity, dtype=torch.long)
        shape = (stack.num_layers, 2, batch, stack.attention.kv_heads, capacity, stack.d_head)
        self.values = torch.zeros(shape, dtype=dtype)
        self.start = 0

    def begin(self, tokens: Tokens) -> Tokens:
        """Make room for a pass and write its key side; all keys so far come back, flagged `causal` if all were."""
        self.start, end = self.length, self.length + len(tokens)
        self._reserve(end)
        if tokens.fields.shape[1] > self.fields.shape[1]:
            self.fields = self.fields.repeat(1, tokens.fields.shape[1], 1)
        self.fields[:, :, self.start : end] = tokens.fields
        if tokens.flag == "causal" and self.causal_length == self.start:
            self.causal_length = end
        self.length = end
        flag = "causal" if self.causal_length == end else tokens.flag if self.start == 0 else None
        return Tokens(self.fields[:, :, :end], flag)

    def begin_next(self) -> None:
        """As `begin` of one more causal token, whose keys, values and visibility a plan writes itself."""
        self.start, end = self.length, self.length + 1
        self._reserve(end)
        self.length = self.causal_length = end

    def layer(self, index: int) -> KVSlot:
        """The slot of one layer, for the pass that `begin` opened."""
        return KVSlot(self.values[index, 0], self.values[index, 1], self.start, self.length)

    def rewind(self, length: int) -> None:
        """Forget everything after `length` tokens, exactly. Raises CutawayError outside 0 … length."""
        if not 0 <= length <= self.length:
            raise CutawayError(
                f"Cannot rewind a store of {self.length} tokens to {length}. Allowed: 0 to {self.length}."
            )
        self.length = length
        self.causal_length = min(self.causal_length, length)

    def fork(self) -> KVStore:
        """An independent copy."""
        twin = KVStore.__new__(KVStore)
        twin.__dict__.update(self.__dict__)
        twin.fields, twin.values = self.fields.clone(), self.values.clone()
        return twin

    def reorder(self, rows: Tensor) -> None:
        """Let row b continue what row rows[b] held (beam search), for as many rows as are named. rows: [batch]."""
        if self.fields.shape[1] > 1:
            self.fields = self.fields[:, rows]
        self.values = self.values.index_select(2, rows)

    @property
    def num_bytes(self) -> int:
        """Bytes of keys and values in use."""
        return self.values[..., : self.length, :].numel() * self.values.element_size()

    def _reserve(self, needed: int) -> None:
        if needed <= self.capacity:
            return
        grown = max(needed, 2 * self.capacity)
        fields = self.fields.new_zeros(*self.fields.shape[:2], grown)
        values = self.values.new_zeros(*self.values.shape[:4], grown, self.values.shape[5])
        fields[:, :, : self.length] = self.fields[:, :, : self.length]
        values[..., : self.length, :] = self.values[..., : self.length, :]
        self.fields, self.values, self.capacity = fields, values, grown


@dataclass(slots=True)
class KVSlot:
    """One layer of a KVStore in one pass: it writes from start to end."""

    k: Tensor
    v: Tensor
    start: int
    end: int

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: [batch, kv_head, position, d_head] of this pass -> all so far, as views of the store."""
        self.k[:, :, self.start : self.end] = k
        self.v[:, :, self.start : self.end] = v
        return self.k[:, :, : self.end], self.v[:, :, : self.end]


class PackedStore:
    """The stores of several sessions, for one pass over a row with a piece of each. Pieces never see each other."""

    def __init__(self, stores: Sequence[KVStore], pieces: Sequence[Tokens]) -> None:
        self.stores, self.pieces = stores, pieces
        self.keys: list[Tokens] = []

    def begin(self, tokens: Tokens) -> Tokens:
        """tokens: the joined pieces, in order. Every session's store begins with its own; the joined keys come back."""
        assert len(tokens) == sum(map(len, self.pieces)), "a packed pass holds one piece of each session"
        self.keys = [store.begin(piece) for store, piece in zip(self.stores, self.pieces, strict=True)]
        return join(self.keys)

    def layer(self, index: int) -> PackedSlot:
        """The slots of one layer, one a session."""
        return PackedSlot([store.layer(index) for store in self.stores], self.pieces, self.keys)


@dataclass(slots=True)
class PackedSlot:
    """One layer of many sessions. pieces, keys: the query and key side of each."""

    slots: list[KVSlot]
    pieces: Sequence[Tokens]
    keys: list[Tokens]

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v of the whole row -> all keys of all sessions, joined: what the readable softmax needs."""
        pairs = [slot.append(*part) for slot, *part in zip(self.slots, *self.split(k, v), strict=True)]
        return torch.cat([k for k, _ in pairs], dim=2), torch.cat([v for _, v in pairs], dim=2)

    def split(self, *rows: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """Each row [batch, head, position, d_head] cut into the pieces of its sessions."""
        sizes = [len(piece) for piece in self.pieces]
        return tuple(row.split(sizes, dim=2) for row in rows)
