"""Who may see whom. In: small integers per token. Out: one predicate over them, and promises that spare the dense mask.

Every token carries six integers: when it becomes `known`, up to when it `reads`, its `group` of peers and its `rank` among
them, its `segment` and its `position`. A query sees a key when, within one segment and the layer's window,

    allow = (key.known <= query.reads) | (key.group == query.group >= 0 and key.rank <= query.rank)

A flag is a promise that selects a fused kernel: `causal` (square, onto an empty store), `full` (everything is seen) and
`packed` (parts that never see each other, each with its own flag; the store knows them). None: the mask is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Flag = Literal["causal", "full", "packed"] | None

NO_PEERS = -1  # group of a token without peers
PADDING = -1  # segment of padding
EMPTY = -2  # segment of empty slots of a store
NEVER = 2**30  # `known` of a token that nobody may see
FIELDS = ("known", "reads", "group", "rank", "segment", "position")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The visibility of one pass's tokens. fields: [field, batch, position] int64; a batch of 1 serves any batch."""

    fields: Tensor
    flag: Flag = None

    def to(self, device: torch.device) -> Tokens:
        """The same tokens on a device."""
        return Tokens(self.fields.to(device), self.flag)

    @property
    def known(self) -> Tensor:
        """When each token becomes visible: [batch, position]."""
        return self.fields[0]

    @property
    def reads(self) -> Tensor:
        """Up to which time each token looks: [batch, position]."""
        return self.fields[1]

    @property
    def group(self) -> Tensor:
        """The peers of each token, −1 for none: [batch, position]."""
        return self.fields[2]

    @property
    def rank(self) -> Tensor:
        """The order among peers: [batch, position]."""
        return self.fields[3]

    @property
    def segment(self) -> Tensor:
        """The text that each token belongs to: [batch, position]."""
        return self.fields[4]

    @property
    def position(self) -> Tensor:
        """The place of each token in its text: [batch, position]."""
        return self.fields[5]

    def __len__(self) -> int:
        return self.fields.shape[2]

    def as_queries_of_memory(self) -> Tokens:
        """These tokens as the queries of cross-attention: they read at time 0, when every source token is known."""
        fields = self.fields.clone()
        fields[FIELDS.index("reads")] = 0
        fields[FIELDS.index("group")] = NO_PEERS
        return Tokens(fields)

    def as_memory(self) -> Tokens:
        """These tokens as the keys of cross-attention: known from the start, however the encoder itself read them."""
        fields = self.fields.clone()
        fields[FIELDS.index("known")] = torch.where(self.known < NEVER, 0, NEVER)
        return Tokens(fields)


def allow(queries: Tokens, keys: Tokens, window: int | None = None, sinks: int = 0) -> Tensor:
    """The predicate itself: [batch, query, key] of bool. window: in positions, not indices; sinks: always in the window."""

    def pair(name: str) -> tuple[Tensor, Tensor]:
        index = FIELDS.index(name)
        return queries.fields[index].unsqueeze(-1), keys.fields[index].unsqueeze(-2)

    (q_group, k_group), (q_rank, k_rank) = pair("group"), pair("rank")
    seen = keys.known.unsqueeze(-2) <= queries.reads.unsqueeze(-1)
    seen = seen | ((q_group == k_group) & (q_group >= 0) & (k_rank <= q_rank))
    q_segment, k_segment = pair("segment")
    seen = seen & (q_segment == k_segment)
    if window is None:
        return seen
    q_position, k_position = pair("position")
    return seen & (((q_position - k_position).abs() < window) | (k_position < sinks))


def cuts(tokens: Tokens) -> list[int]:
    """Where a pass may be cut in two without changing what anyone sees: before these tokens, increasing.

    Nobody before a cut sees a token behind it, by time or as a peer; so a key that is kept is final, as are all that it saw.
    Segments are not told apart: what is said to be a cut is one, and parts that never see each other may hide some.
    """
    if tokens.flag == "full":
        return []
    if tokens.flag == "causal":
        return [*range(1, len(tokens))]
    index = torch.arange(len(tokens), device=tokens.fields.device).expand_as(tokens.group)
    _, peers = torch.where(tokens.group >= 0, tokens.group, NO_PEERS - 1 - index).unique(return_inverse=True)
    last = index.new_zeros(len(index), int(peers.max()) + 1).scatter_reduce(1, peers, index, "amax").gather(1, peers)
    read = tokens.reads.cummax(1).values[:, :-1]
    behind = tokens.known.flip(1).cummin(1).values.flip(1)[:, 1:]
    is_cut = ((read < behind) & (last.cummax(1).values[:, :-1] == index[:, :-1])).all(0)
    return [int(place) + 1 for place in is_cut.nonzero()[:, 0]]


def causal(length: int, start: int = 0, *, device: torch.device | None = None) -> Tokens:
    """Each token sees itself and what came before: positions start … start + length − 1, for any batch."""
    time = torch.arange(start, start + length, device=device).unsqueeze(0)
    return build(known=time, reads=time, position=time, flag="causal")


def num_causal(tokens: Tokens, start: int) -> int:
    """How many of the first tokens go on, in every row, behind a causal text of length `start`, as `causal` would have them."""
    if tokens.flag is not None:
        return len(tokens) if tokens.flag == "causal" else 0
    wanted = causal(len(tokens), start, device=tokens.fields.device).fields
    is_same = (tokens.fields == wanted).flatten(0, 1).all(0)
    return int(is_same.long().cumprod(0).sum())


def full(length: int, *, device: torch.device | None = None) -> Tokens:
    """Every token sees every token."""
    time = torch.arange(length, device=device).unsqueeze(0)
    return build(known=torch.zeros_like(time), reads=torch.zeros_like(time), position=time, flag="full")


def prefix(lengths: Sequence[int], length: int, *, device: torch.device | None = None) -> Tokens:
    """The first lengths[b] tokens see each other; the rest are causal (Raffel et al. 2020, prefix language model)."""
    time = torch.arange(length, device=device).expand(len(lengths), -1)
    ends = torch.tensor(lengths, device=device).unsqueeze(1)
    known = torch.where(time < ends, 0, time)
    reads = torch.maximum(time, ends - 1)
    return build(known=known, reads=reads, position=time)


def packed(segments: Tensor, positions: Tensor, *, is_causal: bool = True) -> Tokens:
    """Documents side by side in one row, none seeing another. segments, positions: [batch, position]; padding: −1."""
    time = positions if is_causal else torch.zeros_like(positions)
    return build(known=time, reads=time, position=positions, segment=segments)


def padded(lengths: Sequence[int], length: int, *, is_causal: bool, left: bool = False) -> Tokens:
    """A batch of texts of different lengths, filled up at the right (or left) with padding that no text sees."""
    index = torch.arange(length).expand(len(lengths), -1)
    sizes = torch.tensor(lengths).unsqueeze(1)
    position = index - (length - sizes) if left else index
    is_text = (position >= 0) & (position < sizes)
    position = position.clamp_min(0)
    return packed(torch.where(is_text, 0, PADDING), position, is_causal=is_causal)


def build(
    *,
    known: Tensor,
    reads: Tensor,
    position: Tensor,
    group: Tensor | None = None,
    rank: Tensor | None = None,
    segment: Tensor | None = None,
    flag: Flag = None,
) -> Tokens:
    """Any visibility from its fields, each [batch, position]. Left out: no peers, one segment."""
    none, zero = torch.full_like(known, NO_PEERS), torch.zeros_like(known)
    rest = [none if group is None else group, zero if rank is None else rank, zero if segment is None else segment]
    return Tokens(torch.stack([known, reads, *rest, position]).long(), flag)


def join(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of several sequences in one row: each keeps its own order, in a segment of its own."""
    fields = torch.cat([part.fields for part in parts], dim=2)
    owner = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
    fields[4] = torch.where(fields[4] >= 0, fields[4] * len(parts) + owner.to(fields.device), fields[4])
    return Tokens(fields, "packed")
