"""A session: one sequence and what the model remembers of it. In: ids. Out: the logits of the tokens that were asked for.

The keys and values of all tokens so far lie in a store, so that a step costs its own tokens only (runtime/cache.py says what
stores there are). `extend` adds tokens, `peek` runs them and keeps nothing, `rewind` forgets the end, `fork` makes a twin. A
long step is read in several passes, wherever that changes nothing. An encoder-decoder's session is opened with source ids: the
source is encoded once, and every layer's keys and values of it are computed once (Vaswani et al. 2017 §3.2.3).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ..config import StackConfig
from ..errors import CutawayError
from ..model.call import Attend, Call, Memory, Watch
from ..model.transformer import Transformer
from ..model.visibility import Tokens, causal, cuts, full, join
from ..runtime.attend import fused
from ..runtime.cache import WHOLE, Cache
from ..runtime.plans import Pass, Planner
from ..runtime.stores import PackedStore

Read = Literal["last", "all", "none"] | Sequence[int]


class Session:
    """One sequence over a KV store. ids: those in the store, in order; watch: who looks at the passes, may be changed any time.

    A token's place is `length` at the time when it is added; a step with visibility of its own (`tokens`) says its places.
    All passes run in torch's inference mode: the logits carry no gradient.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        source_ids: Sequence[int] | None = None,
        attend: Attend | None = fused,
        dtype: torch.dtype | None = None,
        cache: Cache = WHOLE,
        watch: Watch | None = None,
        is_planned: bool = True,
    ) -> None:
        """Open an empty sequence.

        source_ids: what an encoder reads; needed by, and only by, encoder-decoders. attend: the kernel, None for the readable
        softmax. dtype: in which the model computes keys and values: None for its own, autocast's under autocast. cache: how they
        are kept: as they are and all of them, if left out. is_planned: whether a few tokens may run by a recorded plan
        (`runtime.plans`), which gives equal tokens sooner, where the model has one.
        Raises CutawayError for a source that is missing, unwanted, empty, too long or outside the vocabulary.
        """
        self.model, self.attend, self.watch, self.cache = model, attend, watch, cache
        self.device = model.token.weight.device
        self.planner = Planner() if is_planned else None
        self.ids: list[int] = []
        with self.device:
            self.store = cache.store(model.config.main, dtype or model.token.weight.dtype)
        self.memory = self._remember(source_ids)

    @property
    def length(self) -> int:
        """How many tokens are in the store: the place of the next one."""
        return self.store.length

    @property
    def room(self) -> int | None:
        """How many more tokens the model's position table has rows for; None where positions go on without end."""
        limit = places(self.model.config.main, self.model)
        return None if limit is None else limit - self.length

    @property
    def shares_rows(self) -> bool:
        """Whether its steps may stand in one row with those of other sessions: without a memory, and not watched."""
        return self.memory is None and self.watch is None

    @property
    def shortest(self) -> int:
        """The least length that it can be rewound to, beside 0: above 0 where a sliding store has forgotten something."""
        return self.store.shortest

    @property
    def most_in_pass(self) -> int | None:
        """How many tokens of a step stand in the next pass at most; None for all. Who watches sees a step in one pass."""
        return self.cache.most(self.length) if self.shares_rows else None

    def extend(
        self, ids: Sequence[int], read: Read = "last", *, tokens: Tokens | None = None, keep: int | None = None
    ) -> Tensor:
        """Run ids after what is there, and keep them.

        ids: at least one. read: the last token's logits, all, none, or those of the tokens with these (increasing) indices.
        tokens: the visibility of ids, batch 1; None: the causal continuation. keep: how many leading tokens stay; None: all.
        Returns logits [read, vocab]. Raises CutawayError for ids outside the vocabulary or the model's positions, a `read`
        or `keep` outside the step; the session is then as it was before.
        """
        kept = kept_length(keep, len(ids))
        piece = self.piece(ids, rows_of(read, len(ids)), tokens)
        start, before = self.length, self.store
        ends = piece.ends(kept)
        if len(ends) > 1 and before.slides:
            self.store = before.fork()
        try:
            logits = [forward([piece.part(first, end)])[0] for first, end in pairwise([0, *ends])]
        except BaseException:
            before.rewind(start)
            self.store = before
            del self.ids[start:]
            raise
        self.rewind(start + kept)
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def peek(self, ids: Sequence[int], read: Read = "last", *, tokens: Tokens | None = None) -> Tensor:
        """As `extend`, but nothing stays: logits [read, vocab]."""
        return self.extend(ids, read, tokens=tokens, keep=0)

    def rewind(self, length: int) -> None:
        """Forget everything after `length` tokens, exactly. Raises CutawayError outside 0 … the present length."""
        self.store.rewind(length)
        del self.ids[length:]

    def fork(self) -> Session:
        """An independent twin: same model, memory, kernel and watch; ids and store are its own."""
        twin = copy.copy(self)
        twin.store, twin.ids = self.store.fork(), list(self.ids)
        return twin

    def piece(self, ids: Sequence[int], rows: Sequence[int], tokens: Tokens | None) -> Piece:
        """Checked input of a pass. rows: indices of ids whose logits are read; tokens: as in `extend`, which see for errors."""
        if not ids:
            raise CutawayError("A step without ids has nothing to run. Give at least one id.")
        check_ids(ids, self.model.config.vocab_size)
        limit = places(self.model.config.main, self.model)
        if tokens is None:
            check_places(self.length + len(ids), limit)
            return Piece(self, ids, None, rows)
        if len(tokens) != len(ids):
            raise CutawayError(
                f"A step has {len(ids)} ids and visibility for {len(tokens)} tokens. Both must be equal."
            )
        check_places(int(tokens.position.max()) + 1, limit)
        return Piece(self, ids, tokens, rows)

    def _remember(self, source_ids: Sequence[int] | None) -> Memory | None:
        check_source(self.model, source_ids)
        if source_ids is None:
            return None
        call = Call(full(len(source_ids), device=self.device), self.attend, watch=self.watch)
        with torch.inference_mode():
            memory = self.model.encode(torch.tensor([list(source_ids)], device=self.device), call)
            return self.cache.memory(self.model.fill(memory, call))


@dataclass(frozen=True, slots=True)
class Piece:
    """What one session puts into a pass. tokens: as in `extend`; rows: indices of ids whose logits are read, increasing."""

    session: Session
    ids: Sequence[int]
    tokens: Tokens | None
    rows: Sequence[int]

    @property
    def visibility(self) -> Tokens:
        """Who its tokens are and what they see: where it was left out, the causal continuation."""
        session = self.session
        return causal(len(self.ids), session.length, device=session.device) if self.tokens is None else self.tokens

    def planned(self, asked: Pass) -> Planner | None:
        """Whoever knows the model's plan, if one may run this: a few tokens that nobody watches, by the usual kernel."""
        session = self.session
        is_usual = session.watch is None and session.memory is None and session.attend is fused
        if not is_usual or session.planner is None:
            return None
        return session.planner if session.planner.may_run(session.model, session.store, asked) else None

    def part(self, first: int, end: int) -> Piece:
        """Its tokens from `first` to `end`, for a pass of their own behind those before them."""
        if end - first == len(self.ids):
            return self
        rows = [row - first for row in self.rows if first <= row < end]
        return Piece(self.session, self.ids[first:end], self.tokens and _part(self.tokens, first, end), rows)

    def ends(self, kept: int) -> list[int]:
        """Where its passes end, the last of them at its end: as few as hold as many tokens each as its session allows.

        It is cut only where that changes nothing (see `visibility.cuts`), so that a pass may hold more; and not at all where the
        store might forget on the way what the step does not keep. kept: how many leading tokens of the step stay.
        """
        session, ends, length = self.session, [0], len(self.ids)
        is_whole = length == 1 or not session.shares_rows or (session.store.slides and kept < length)
        if is_whole or session.cache.chunk is None:
            return [length]
        for cut, after in pairwise([*cuts(self.visibility), length]):
            most = session.cache.most(session.length + ends[-1])
            if most is not None and after - ends[-1] > most:
                ends.append(cut)
        return [*ends[1:], length]


def forward(pieces: Sequence[Piece]) -> list[Tensor]:
    """One pass: a piece of one session, or one row with a piece of each of several that share model and kernel.

    Every piece's tokens are in its session afterwards. Returns each piece's logits [read, vocab]; only the rows that were
    asked for go through the head. When the pass fails, every session is as it was before.
    """
    starts = [piece.session.length for piece in pieces]
    try:
        with torch.inference_mode():
            logits = _forward(pieces)
    except BaseException:
        for piece, start in zip(pieces, starts, strict=True):
            piece.session.store.rewind(start)
        raise
    for piece in pieces:
        piece.session.ids.extend(piece.ids)
    return logits


def _part(tokens: Tokens, first: int, end: int) -> Tokens:
    return Tokens(tokens.fields[:, :, first:end], "causal" if tokens.flag == "causal" else None)


def rows_of(read: Read, length: int) -> Sequence[int]:
    """The indices that `read` names in a step of `length` tokens. Raises CutawayError outside 0 … length − 1 or unordered."""
    if isinstance(read, str):
        named = {"last": range(length - 1, length), "all": range(length), "none": range(0)}
        if read not in named:
            raise CutawayError(f"read is '{read}'. Allowed: {', '.join(named)}, or increasing indices into the step.")
        return named[read]
    rows = list(read)
    if rows != sorted(set(rows)) or (rows and not 0 <= rows[0] <= rows[-1] < length):
        raise CutawayError(f"read is {rows}. It must be increasing indices from 0 to {length - 1}, or last, all, none.")
    return rows


def kept_length(keep: int | None, length: int) -> int:
    """How many leading tokens of a step of `length` stay. Raises CutawayError outside 0 … length."""
    if keep is None:
        return length
    if not 0 <= keep <= length:
        raise CutawayError(f"keep is {keep}. It must be from 0 to {length}, the number of ids in the step.")
    return keep


def check_source(model: Transformer, source_ids: Sequence[int] | None) -> None:
    """Raises CutawayError for a source that is missing, unwanted, empty, too long or outside the vocabulary."""
    encoder = model.config.encoder
    if encoder is None or not model.config.has_cross:
        if source_ids is not None:
            raise CutawayError(
                "This model has no encoder and decoder, so it takes no source ids. Leave source_ids out."
            )
        return
    if not source_ids:
        raise CutawayError("This model reads a source first. Open the session with source_ids of at least one id.")
    check_ids(source_ids, model.config.vocab_size)
    check_places(len(source_ids), places(encoder, model))


def places(stack: StackConfig, model: Transformer) -> int | None:
    """How many positions a stack has rows for; None where they go on without end."""
    return model.config.context if stack.position.is_table else None


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raises CutawayError for ids outside the vocabulary."""
    low, high = min(ids), max(ids)
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise CutawayError(
            f"The id {wrong} is not in the vocabulary: ids run from 0 to {vocab_size - 1}. "
            "Encode the text with the model's own tokenizer."
        )


def check_places(needed: int, limit: int | None) -> None:
    """Raises CutawayError for more tokens than there are positions."""
    if limit is not None and needed > limit:
        raise CutawayError(
            f"The sequence would have {needed} tokens, but this model's positions end at {limit}: {needed - limit} too many. "
            "Shorten the text, ask for fewer tokens, or use a model with a longer context."
        )


def _forward(pieces: Sequence[Piece]) -> list[Tensor]:
    piece, session = pieces[0], pieces[0].session
    asked = Pass(piece.ids, piece.tokens, piece.rows[0] if piece.rows else None)
    planner = piece.planned(asked) if len(pieces) == 1 else None
    if planner is None:
        return _readable(pieces)
    logits, first = planner.run(session.model, asked, session.store), asked.read or 0
    if logits is None:
        first = asked.read if asked.read is not None else len(piece.ids) - 1
        (logits,) = _readable([replace(piece, rows=range(first, len(piece.ids)))])
        logits = planner.learn(session.model, replace(asked, read=first), session.store, logits)
    if len(logits) != len(piece.rows):
        logits = logits[[row - first for row in piece.rows]]
    return [logits]


def _readable(pieces: Sequence[Piece]) -> list[Tensor]:
    session, parts = pieces[0].session, [piece.visibility for piece in pieces]
    ids = torch.tensor([[token_id for piece in pieces for token_id in piece.ids]], device=session.device)
    if len(pieces) == 1:
        call = Call(parts[0], session.attend, session.store, session.memory, session.watch)
    else:
        call = Call(join(parts), session.attend, PackedStore([piece.session.store for piece in pieces], parts))
    states = session.model.states(ids, call)
    rows = _joined_rows(pieces)
    if not rows:
        return [states.new_empty(0, session.model.config.vocab_size) for _ in pieces]
    if len(rows) < states.shape[1]:
        states = states[:, rows]
    logits = session.model.logits(states, call)[0]
    return list(logits.split([len(piece.rows) for piece in pieces]))


def _joined_rows(pieces: Sequence[Piece]) -> list[int]:
    rows, offset = [], 0
    for piece in pieces:
        rows += [offset + row for row in piece.rows]
        offset += len(piece.ids)
    return rows
