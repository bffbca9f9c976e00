"""KV stores. In: the keys and values of each pass. Out: those so far that it can see, with the visibility of their tokens.

`KVStore` holds one session (or a batch that moves in step): contiguous, all of it, or sliding, where layers with a window keep
only the last window of keys; in any `Format`. `PackedStore` lends the stores of many sessions to one pass whose row holds a piece
of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import StackConfig
from ..cost import MARGIN
from ..errors import CutawayError
from ..model.call import Keys, keys_of
from ..model.visibility import Tokens, join
from .formats import Format, Plain
from .lanes import Buffer, KVSlot, Lane, Reach

__all__ = ["KVSlot", "KVStore", "PackedSlot", "PackedStore"]


class KVStore:
    """Keys and values of all layers, in lanes: one for all of them, or, where it slides, one for each window.

    The visibility has a batch of 1 as long as it serves every row, so that rows which move in step share one mask.
    """

    def __init__(
        self,
        stack: StackConfig,
        *,
        batch: int = 1,
        capacity: int = 64,
        dtype: torch.dtype = torch.float32,
        form: Format | None = None,
        slides: bool = False,
        margin: int = MARGIN,
    ) -> None:
        """capacity: tokens that there is memory for at first. form: how numbers are held; None: plainly, in `dtype`.

        slides: whether layers with a window keep the last window alone, and `margin` tokens beyond it, by which the store can be
        rewound. Forgotten is only what no token from there on sees, so that nothing that is computed changes.
        """
        self.stack, self.form = stack, form or Plain(dtype)
        kinds = [stack.kind(index) for index in range(stack.num_layers)]
        windows = {kind: stack.layer_types[kind].window if slides else None for kind in kinds}
        self.lanes: list[Lane] = []
        self._lane_of: dict[str, int] = {}
        for window in dict.fromkeys(windows.values()):
            self._lane_of |= {kind: len(self.lanes) for kind in kinds if windows[kind] == window}
            num_layers = sum(windows[kind] == window for kind in kinds)
            buffer = Buffer.empty(stack, num_layers, batch, capacity, self.form)
            self.lanes.append(Lane(buffer, self.form, window, stack.attention.sinks, margin))
        self._place = [
            (self._lane_of[k], sum(windows[k] == windows[o] for o in kinds[:i])) for i, k in enumerate(kinds)
        ]

    @property
    def length(self) -> int:
        """Tokens so far, kept or not."""
        return self.lanes[0].length

    @property
    def slides(self) -> bool:
        """Whether some of its layers forget."""
        return any(lane.window is not None for lane in self.lanes)

    @property
    def shortest(self) -> int:
        """The least length that it can be rewound to, beside 0."""
        return max(lane.shortest for lane in self.lanes)

    def begin(self, tokens: Tokens) -> Keys:
        """Make room for a pass and write its key side. The keys that it can see come back, by layer type where it slides.

        They are flagged `causal` if all are. Raises CutawayError for tokens that see back to what is forgotten.
        """
        reach = self._reach(tokens)
        for lane in self.lanes:
            lane.check(reach)
        keys = [lane.begin(tokens, reach) for lane in self.lanes]
        if len(keys) == 1:
            return keys[0]
        return {kind: keys[self._lane_of.get(kind, 0)] for kind in self.stack.layer_types}

    def begin_next(self, count: int = 1) -> None:
        """As `begin` of more causal tokens that somebody else writes, visibility and all; not where it slides."""
        assert not self.slides, "only memory that lies in one piece is written past the store"
        self.lanes[0].begin_next(count)

    def layer(self, index: int) -> KVSlot:
        """The slot of one layer, for the pass that `begin` opened."""
        lane, place = self._place[index]
        return self.lanes[lane].slot(place)

    def kept(self, index: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer as they are held: [batch, kv_head, position, d_head]."""
        lane, place = self._place[index]
        return self.lanes[lane].read(place, dtype)

    def rewind(self, length: int) -> None:
        """Forget everything after `length` tokens, exactly. Raises CutawayError outside 0 … length, and below `shortest`."""
        if not 0 <= length <= self.length:
            raise CutawayError(
                f"Cannot rewind a store of {self.length} tokens to {length}. Allowed: 0 to {self.length}."
            )
        if 0 < length < self.shortest:
            raise CutawayError(
                f"Cannot rewind a sliding store of {self.length} tokens to {length}: layers with a window have forgotten what "
                f"that takes. Allowed: 0, and {self.shortest} to {self.length}. For more, open the session with Cache(margin=…) "
                "of as many tokens as are to be taken back, or Cache(slides=False)."
            )
        for lane in self.lanes:
            lane.rewind(length)

    def fork(self) -> KVStore:
        """An independent twin, by copy on write: it costs a copy when one of both writes where the other holds something.

        Slow twin: `copy`.
        """
        return self._with([lane.fork() for lane in self.lanes])

    def copy(self) -> KVStore:
        """An independent twin over memory of its own, at once."""
        return self._with([lane.copy() for lane in self.lanes])

    def reorder(self, rows: Tensor) -> None:
        """Let row b continue what row rows[b] held (beam search), for as many rows as are named. rows: [batch]."""
        for lane in self.lanes:
            lane.reorder(rows)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Where it does not slide, what its form holds: [layer, 2, batch, kv_head, capacity, width] each."""
        assert not self.slides, "they lie in several lanes"
        return self.lanes[0].buffer.tensors

    @property
    def values(self) -> Tensor:
        """The first of the tensors: the numbers themselves, or their codes."""
        return self.tensors[0]

    @property
    def fields(self) -> Tensor:
        """Where it does not slide, the visibility of all tokens: [field, batch, capacity]."""
        assert not self.slides, "it lies in several lanes"
        return self.lanes[0].buffer.fields

    @property
    def capacity(self) -> int:
        """Tokens that there is memory for, at least."""
        return min(lane.buffer.capacity for lane in self.lanes)

    @property
    def causal_length(self) -> int:
        """How many of the first tokens are known to be causal."""
        return self.lanes[0].causal_length

    @property
    def start(self) -> int:
        """Where the last pass began to write."""
        return self.lanes[0].start

    @property
    def num_bytes(self) -> int:
        """Bytes of keys and values in use, scales included."""
        return sum(lane.num_kept * lane.buffer.bytes_per_entry for lane in self.lanes)

    @property
    def num_allocated(self) -> int:
        """Bytes that it has memory for: those in use, those that go next, and room for more. Twins count what they share each."""
        return sum(lane.buffer.capacity * lane.buffer.bytes_per_entry for lane in self.lanes)

    def _with(self, lanes: list[Lane]) -> KVStore:
        twin = KVStore.__new__(KVStore)
        twin.__dict__.update(self.__dict__)
        twin.lanes = lanes
        return twin

    def _reach(self, tokens: Tokens) -> Reach:
        """What lanes with windows must know; nobody else asks."""
        if not self.slides:
            return Reach(0, 0)
        start, length = self.length, len(tokens)
        if tokens.flag == "causal":
            first = int(tokens.position[0, 0])
            return Reach(first, length if first == start else 0)
        places = torch.arange(start, start + length, device=tokens.fields.device)
        is_next = (tokens.position == places).all(0)
        return Reach(int(tokens.position.min()), int(is_next.long().cumprod(0).sum()))


class PackedStore:
    """The stores of several sessions, for one pass over a row with a piece of each. Pieces never see each other."""

    def __init__(self, stores: Sequence[KVStore], pieces: Sequence[Tokens]) -> None:
        self.stores, self.pieces = stores, pieces
        self.keys: list[Keys] = []

    def begin(self, tokens: Tokens) -> Keys:
        """tokens: the joined pieces, in order. Every session's store begins with its own; the joined keys come back."""
        assert len(tokens) == sum(map(len, self.pieces)), "a packed pass holds one piece of each session"
        self.keys = [store.begin(piece) for store, piece in zip(self.stores, self.pieces, strict=True)]
        if not any(isinstance(keys, Mapping) for keys in self.keys):
            return self._joined("")
        return {kind: self._joined(kind) for kind in self.stores[0].stack.layer_types}

    def layer(self, index: int) -> PackedSlot:
        """The slots of one layer, one a session."""
        kind = self.stores[0].stack.kind(index)
        keys = [keys_of(each, kind) for each in self.keys]
        return PackedSlot([store.layer(index) for store in self.stores], self.pieces, keys)

    def _joined(self, kind: str) -> Tokens:
        return join([keys_of(keys, kind) for keys in self.keys])


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
