"""Token ids -> rows of fixed length. In: a `Corpus`. Out: `Batch`es: what the model reads, what it should say, what counts.

Two ways, one interface (`Windows`): `Stream` cuts the whole row of tokens into windows that cross documents (GPT-2, Radford
et al. 2019). `Packed` gives each row whole documents, or pieces of those longer than a row, and names each token's segment
and position, so that visibility never lets one document see another (best-fit packing: Ding et al. 2024, arXiv:2404.10830).
Both are laid out anew for every epoch, from a generator that the caller seeds, always with the same number of rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError, near
from .corpus import Corpus

Ids = NDArray[np.int64]
Packing = Literal["stream", "packed"]
Fit = Literal["best", "next"]
PAD_SEGMENT = -1


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows for one forward pass. All arrays: [batch, position].

    input_ids: int64, what is read. target_ids: int64, the token that follows each. weights: float32, 1 where the target
    counts and 0 where it does not. segments: int64, the number of each token's document within its row, −1 for padding, or
    None: a row is one segment. positions: int64, from 0 in each segment, or None: 0, 1, 2, ... num_bytes: UTF-8 bytes of
    the scored text (in proportion to tokens inside a document).
    """

    input_ids: Ids
    target_ids: Ids
    weights: NDArray[np.float32]
    num_bytes: float
    segments: Ids | None = None
    positions: Ids | None = None

    @property
    def num_scored(self) -> int:
        """Targets that count."""
        return int(np.count_nonzero(self.weights))


class Layout(Protocol):
    """The rows of one epoch."""

    def rows(self, numbers: Ids) -> Batch:
        """The rows of these numbers ([batch], each in 0..num_rows)."""
        ...


class Windows(Protocol):
    """A corpus cut into rows."""

    @property
    def num_rows(self) -> int:
        """Rows in every epoch."""
        ...

    def lay_out(self, generator: np.random.Generator | None) -> Layout:
        """Where the rows are in one epoch; None: the plainest layout, for evaluation."""
        ...


def windows(corpus: Corpus, context: int, packing: Packing, pad_id: int | None = None) -> Windows:
    """A corpus as rows of `context` tokens. pad_id: what fills the rest of a packed row.

    Raises `CutawayError`: a context below 1, a corpus too short for one row, an unknown way, packing without pad_id.
    """
    if context < 1:
        raise CutawayError(f"context is {context}; it must be 1 token or more.")
    if packing == "stream":
        return Stream(corpus, context)
    if packing == "packed":
        if pad_id is None:
            raise CutawayError(
                "Packed rows need a pad token, and this tokenizer has none. Reserve one, or use packing 'stream'."
            )
        return Packed(corpus, context, pad_id)
    raise CutawayError(f"'{packing}' is not a way to pack documents.{near(packing, ('stream', 'packed'))}")


class Stream:
    """Windows of context + 1 tokens, each beginning with the last token of the one before, from a random phase.

    Every token is a target at most once an epoch. The phase moves all borders; what it leaves over, less than 2 · context
    tokens at the two ends, differs from epoch to epoch.
    """

    def __init__(self, corpus: Corpus, context: int) -> None:
        self.corpus, self.context = corpus, context
        num_targets = corpus.num_tokens - 1
        if num_targets < context:
            raise CutawayError(
                f"{corpus.name} has {corpus.num_tokens:,} tokens, but one window takes {context + 1:,} (context {context:,} "
                f"and the token after it). The largest context that would do is {max(0, num_targets):,}: lower it, or add text."
            )
        self.num_rows = max(1, num_targets // context - 1)
        self.num_phases = min(context, num_targets - self.num_rows * context + 1)

    def lay_out(self, generator: np.random.Generator | None) -> StreamLayout:
        """See `Windows`."""
        phase = 0 if generator is None else int(generator.integers(self.num_phases))
        return StreamLayout(self.corpus, self.context, phase)


@dataclass(frozen=True)
class StreamLayout:
    """Windows that begin at phase, phase + context, phase + 2 · context, ..."""

    corpus: Corpus
    context: int
    phase: int

    def rows(self, numbers: Ids) -> Batch:
        """See `Layout`."""
        starts = self.phase + numbers * self.context
        ids = self.corpus.token_ids[starts[:, None] + np.arange(self.context + 1)].astype(np.int64)
        num_bytes = self.corpus.bytes_before(starts + 1 + self.context) - self.corpus.bytes_before(starts + 1)
        weights = np.ones((len(numbers), self.context), dtype=np.float32)
        return Batch(input_ids=ids[:, :-1], target_ids=ids[:, 1:], weights=weights, num_bytes=float(num_bytes.sum()))


class Packed:
    """Rows of whole documents, or of pieces of those with more than `context` targets.

    Every token is a target exactly once an epoch: the first one of a document is predicted from the end token. A corpus
    without an end token cannot predict first tokens: these, and documents of one token, are left out. A piece that goes on
    with its document reads on from the token before, and its positions begin at 0 again. Which of a long document's pieces
    is the short one changes from epoch to epoch, and with it the borders, but never the lengths, nor the rows.
    """

    def __init__(self, corpus: Corpus, context: int, pad_id: int, fit: Fit = "best") -> None:
        self.corpus, self.context, self.pad_id = corpus, context, pad_id
        self.begins = corpus.document_starts[:-1] + (corpus.end_id is None)
        num_targets = np.maximum(0, corpus.document_starts[1:] - self.begins)
        self.num_pieces = -(-num_targets // context)
        if not self.num_pieces.any():
            raise CutawayError(f"No document of {corpus.name} has two tokens: there is nothing to predict. Add text.")
        self.short = num_targets - (self.num_pieces - 1) * context
        self.document = np.repeat(np.arange(len(num_targets)), self.num_pieces)
        first = np.cumsum(self.num_pieces) - self.num_pieces
        self.number = np.arange(len(self.document)) - first[self.document]
        # A document's last slot is the short one; the pieces that fill the slots before it are full.
        is_short = self.number == self.num_pieces[self.document] - 1
        self.lengths = np.where(is_short, self.short[self.document], context)
        row_of_slot = pack(self.lengths, context, fit)
        self.order = np.argsort(row_of_slot, kind="stable")
        self.num_rows = int(row_of_slot.max()) + 1
        self.row_borders = np.searchsorted(row_of_slot[self.order], np.arange(self.num_rows + 1))

    def lay_out(self, generator: np.random.Generator | None) -> PackedLayout:
        """See `Windows`."""
        short_at = self.num_pieces - 1
        if generator is not None:
            short_at = generator.integers(np.maximum(1, self.num_pieces))
        at, document = short_at[self.document], self.document
        is_last = self.number == self.num_pieces[document] - 1
        full_starts = self.number * self.context + np.where(self.number >= at, self.short[document], 0)
        starts = self.begins[document] + np.where(is_last, at * self.context, full_starts)
        return PackedLayout(self, starts)


@dataclass(frozen=True)
class PackedLayout:
    """starts: [slot], the first target of the piece in each slot."""

    packed: Packed
    starts: Ids

    def rows(self, numbers: Ids) -> Batch:
        """See `Layout`."""
        packed, corpus = self.packed, self.packed.corpus
        shape = (len(numbers), packed.context)
        input_ids, target_ids = np.full(shape, packed.pad_id), np.full(shape, packed.pad_id)
        weights, segments = np.zeros(shape, dtype=np.float32), np.full(shape, PAD_SEGMENT)
        positions, num_bytes = np.zeros(shape, dtype=np.int64), 0.0
        for row, number in enumerate(numbers):
            slots = packed.order[packed.row_borders[number] : packed.row_borders[number + 1]]
            filled = 0
            for segment, slot in enumerate(slots):
                start, length = int(self.starts[slot]), int(packed.lengths[slot])
                place = (row, slice(filled, filled + length))
                target_ids[place] = corpus.token_ids[start : start + length]
                input_ids[place] = ids_before(corpus, start, length)
                weights[place] = 1 if corpus.weights is None else corpus.weights[start : start + length]
                segments[place], positions[place] = segment, np.arange(length)
                num_bytes += _num_bytes(corpus, start, length)
                filled += length
        return Batch(
            input_ids=input_ids,
            target_ids=target_ids,
            weights=weights,
            num_bytes=num_bytes,
            segments=segments,
            positions=positions,
        )


def _num_bytes(corpus: Corpus, start: int, length: int) -> float:
    """The bytes of a piece of one document: in proportion to its tokens, or to the weights of its tokens."""
    if corpus.weights is None:
        return float(np.diff(corpus.bytes_before(np.array([start, start + length])))[0])
    document = int(np.searchsorted(corpus.document_starts, start, side="right")) - 1
    whole = corpus.weights[corpus.document_starts[document] : corpus.document_starts[document + 1]].sum()
    if not whole:
        return 0.0  # a document that was cut before what is predicted of it
    return float(corpus.document_bytes[document] * corpus.weights[start : start + length].sum() / whole)


def ids_before(corpus: Corpus, start: int, length: int) -> Ids:
    """The tokens one place before start..start+length: [length]. Before the first token of all stands the end token."""
    if start > 0:
        return corpus.token_ids[start - 1 : start + length - 1].astype(np.int64)
    assert corpus.end_id is not None, "nothing stands before the first token of a corpus without an end token"
    return np.concatenate([[corpus.end_id], corpus.token_ids[: length - 1]]).astype(np.int64)


def pack(lengths: Sequence[int] | Ids, capacity: int, fit: Fit = "best") -> Ids:
    """The row of each piece, [piece], so that no row holds more than `capacity`.

    "best": longest first, each into the fullest row that still has room (best-fit decreasing: at most 11/9 of the fewest
    rows possible). "next": in order, a new row when the last one is full. lengths: 1..capacity each.
    """
    assert len(lengths) == 0 or (min(lengths) >= 1 and max(lengths) <= capacity), "a piece must fit into one row"
    rows = np.zeros(len(lengths), dtype=np.int64)
    if fit == "next":
        row, filled = 0, 0
        for piece, length in enumerate(lengths):
            row, filled = (row, filled + int(length)) if filled + length <= capacity else (row + 1, int(length))
            rows[piece] = row
        return rows
    room_left: list[int] = []
    rows_with_room: dict[int, list[int]] = {}
    num_rows = 0
    for piece in np.argsort(-np.asarray(lengths), kind="stable"):
        length = int(lengths[piece])
        at = bisect_left(room_left, length)
        if at == len(room_left):
            row, room, num_rows = num_rows, capacity, num_rows + 1
        else:
            room = room_left[at]
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                del rows_with_room[room], room_left[at]
        rows[piece] = row
        if room > length:
            if room - length not in rows_with_room:
                insort(room_left, room - length)
            rows_with_room.setdefault(room - length, []).append(row)
    return rows
