"""Attention rollout. In: a pass and one vector of it. Out: which tokens it came from, layer by layer, as a sketch.

Each layer keeps half of a token and takes half from where its heads look (Abnar & Zuidema 2020, §3):

    mix = ½ I + ½ Σ_h a_h A_h        shares at column l = shares at column l + 1 · mix of layer l

Column 0 is what enters the first layer, column l what leaves layer l − 1; the shares of a column add up to 1. Heads count
alike (a_h = 1 / heads, as in the paper), or by the length of what they write at the query (a_h = |W_h m_h| / Σ). A decoder
that looks at a source first gives half of what is left to cross-attention, and the rest to its own; so the two columns of
shares, target and source, add up to 1 together. A vector of the encoder comes from the source alone.

It is a sketch: it follows weights, not values, knows nothing of feed-forward layers, and half is a convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from ..model.attention import Attention
from ..model.transformer import Stack
from .attending import Block, module_of, weights_of
from .colour import Theme
from .loom import BOX, MOST_ROWS, Loom, cross
from .numerals import chance, quoted
from .parts import check_encoder, check_no_masks, check_position, prefix_of, stack_name, written_lengths
from .result import Result
from .sheet import MARGIN, Sheet
from .trace import Trace

HeadWeights = Literal["written", "plain"]
THINNEST = 0.004
Mixes = Callable[[int, Block, Tensor], Iterable[tuple[Tensor, Tensor]]]
"""A layer, a block and the queries that hold a share -> those queries (or more), [query], and their `mix_of`, [query, key], in
one part or in several."""
BLOCK = 64
"""Queries at a time: no matrix is larger than [head, BLOCK, key]."""


@dataclass(frozen=True, kw_only=True)
class Thread:
    """What flows from one token at a column to another (or itself) at the next. share: of the vector looked at."""

    origin: int
    to: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One stack. shares: [column][token]. threads: for each layer, from its start to its end, those above the threshold, by `to`
    and `origin`. left_out: for each layer, the share of all others together.
    """

    shares: tuple[tuple[float, ...], ...]
    threads: tuple[tuple[Thread, ...], ...]
    left_out: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rollout(Result):
    """Where a vector came from: the one at `position` and `column` of a stack.

    heads: how they were averaged. main: that stack's flow. source: the encoder's below a decoder, else None; crossings: for each
    decoder layer, the threads from the encoder's end into it. tokens: texts of the stack, where the trace has them;
    source_tokens: of the source of a decoder.
    """

    stack: str
    position: int
    column: int
    heads: HeadWeights
    threshold: float
    main: Flow
    source: Flow | None
    crossings: tuple[tuple[Thread, ...], ...]
    tokens: tuple[str, ...]
    source_tokens: tuple[str, ...] = ()

    def draw(self, theme: Theme = "light") -> Sheet:
        """The loom: boxes and threads, on one scale."""
        return _drawn(self, theme)


def rollout_sites(model: Transformer, *, of_encoder: bool = False) -> tuple[str, ...]:
    """The patterns of the sites that `rollout` reads; `weights` is taken where the trace has it, and not needed."""
    inside = [f"attention.{site}" for site in ("query", "key", "mixed")]
    found = [f"{prefix_of(model, of_encoder=of_encoder)}layers.*.{site}" for site in inside]
    if model.config.has_cross and not of_encoder:
        found += [f"decoder.layers.*.cross.{site}" for site in ("query", "key", "mixed")]
        found += [f"encoder.layers.*.{site}" for site in inside]
    return tuple(found)


@torch.no_grad()
def rollout(
    model: Transformer,
    trace: Trace,
    position: int,
    column: int | None = None,
    *,
    heads: HeadWeights = "written",
    threshold: float | None = None,
    row: int = 0,
    of_encoder: bool = False,
) -> Rollout:
    """Which tokens a vector came from. position, column: which vector; None: the last column, behind all layers.

    trace: with the sites of `rollout_sites`, of a pass in which a text stands by itself (as `LM.trace` and `trace_pair` run
    it). threshold: threads with a smaller share are left out; None: 0.004, and less where more tokens share than a figure has
    rows. of_encoder: a vector of the encoder of two stacks. Raises CutawayError for a vector that does not exist.
    """
    stack, prefix, length = _stack(model, trace, position, row, of_encoder=of_encoder)
    check_no_masks(model, trace)
    last = stack.config.num_layers
    column = last if column is None else column
    _check(column, last, heads)
    threshold = THINNEST * min(1.0, MOST_ROWS / length) if threshold is None else threshold
    shares = torch.zeros(length, dtype=torch.float64)
    shares[position] = 1.0
    flow, looks = None, _looks_at_a_source(model, prefix)
    num_sources = trace["encoder.layers.0.attention.query"].shape[2] if looks else 0
    main, below, crossings = roll(_mixes(model, trace, prefix, heads, row), shares, column, threshold, num_sources)
    if looks:
        assert model.encoder is not None, "cross-attention has a source"
        flow, _, _ = roll(
            _mixes(model, trace, "encoder.", heads, row), below, model.encoder.config.num_layers, threshold
        )
    texts = trace.source_texts if of_encoder else trace.texts
    return Rollout(
        stack="encoder" if of_encoder else stack_name(model),
        position=position,
        column=column,
        heads=heads,
        threshold=threshold,
        main=main,
        source=flow,
        crossings=crossings,
        tokens=texts[row] if texts else (),
        source_tokens=trace.source_texts[row] if flow is not None and trace.source_texts else (),
    )


def _stack(model: Transformer, trace: Trace, position: int, row: int, *, of_encoder: bool) -> tuple[Stack, str, int]:
    """The stack that is meant, what stands before its sites, and how many tokens it read."""
    check_encoder(model, of_encoder=of_encoder)
    if not of_encoder:
        check_position(trace, position, row)
        return model.main, prefix_of(model), trace.ids.shape[1]
    assert model.encoder is not None, "checked"
    length = trace["encoder.layers.0.attention.query"].shape[2]
    check_position(trace, position, row, length)
    return model.encoder, "encoder.", length


def roll(
    mixes: Mixes, shares: Tensor, column: int, threshold: float, num_sources: int = 0
) -> tuple[Flow, Tensor, tuple[tuple[Thread, ...], ...]]:
    """From the shares of a column, [token] float64, down to what enters the first layer, a product a layer.

    mixes: the layers of one stack. num_sources: tokens that it looks at besides, 0 for none. Gives the flow; the shares that the
    source is left with, [source]; and for each layer the threads from there.
    """
    columns, threads, left_out, crossings = [shares], [], [], []
    source = torch.zeros(num_sources, dtype=torch.float64)
    for layer in range(column - 1, -1, -1):
        others, holders = 0.0, shares.nonzero()[:, 0]
        if num_sources:
            taken, crossed, others = _through(mixes(layer, "cross", holders), shares, num_sources, threshold)
            source = source + taken
            crossings.append(crossed)
        shares, inside, rest = _through(mixes(layer, "attention", holders), shares, len(shares), threshold)
        columns.append(shares)
        threads.append(inside)
        left_out.append(rest + others)
    flow = Flow(
        shares=tuple(tuple(each.tolist()) for each in reversed(columns)),
        threads=tuple(reversed(threads)),
        left_out=tuple(reversed(left_out)),
    )
    return flow, source, tuple(reversed(crossings))


@torch.no_grad()
def mix_of(
    model: Transformer,
    trace: Trace,
    prefix: str,
    layer: int,
    block: Block,
    rows: Tensor,
    *,
    heads: HeadWeights = "written",
    row: int = 0,
) -> Tensor:
    """What the vectors behind a layer keep and take of those before it: [query, key] float64 of the queries `rows`.

    ½ I + ½ of where the heads look, rows that add up to 1; where the layer looks at a source too, half of that, and the block
    cross is the other half. prefix: of the stack's sites. heads, row: as of `rollout`.
    """
    stack = model.encoder if prefix == "encoder." else model.main
    assert stack is not None, "a stack of the model"
    seen = _seen(model, trace, prefix, module_of(stack, layer, block), layer, rows, heads, row)
    if block == "cross":
        return 0.5 * seen
    seen[torch.arange(len(rows)), rows] += 1.0
    return (0.25 if _looks_at_a_source(model, prefix) else 0.5) * seen


def _mixes(model: Transformer, trace: Trace, prefix: str, heads: HeadWeights, row: int) -> Mixes:
    def parts(layer: int, block: Block, holders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in holders.split(BLOCK):
            yield rows, mix_of(model, trace, prefix, layer, block, rows, heads=heads, row=row)

    return parts


def _looks_at_a_source(model: Transformer, prefix: str) -> bool:
    return model.config.has_cross and prefix == "decoder."


def _through(
    parts: Iterable[tuple[Tensor, Tensor]], shares: Tensor, num_keys: int, threshold: float
) -> tuple[Tensor, tuple[Thread, ...], float]:
    """shares: [query] -> what each key gives, [key]; its threads, by `to` and `origin`; the share of all others."""
    before, threads, others = torch.zeros(num_keys, dtype=torch.float64), [], 0.0
    for rows, mix in parts:
        kept = shares[rows]
        taken = (kept.to(mix.dtype) @ mix).double()
        before = before + taken
        thick = (kept >= threshold).nonzero()[:, 0]  # no other has a thread as thick
        given = mix[thick].double() * kept[thick, None]
        strong = ((given >= threshold) & (given > 0)).nonzero()
        values = given[strong[:, 0], strong[:, 1]]
        others += float(taken.sum() - values.sum())
        triples = zip(rows[thick][strong[:, 0]].tolist(), strong[:, 1].tolist(), values.tolist(), strict=True)
        threads += [Thread(origin=origin, to=to, share=share) for to, origin, share in triples]
    return before, tuple(threads), max(others, 0.0)


def _seen(
    model: Transformer,
    trace: Trace,
    prefix: str,
    attention: Attention,
    layer: int,
    rows: Tensor,
    heads: HeadWeights,
    row: int,
) -> Tensor:
    """Where the heads of a layer look, together: [query, key] float64; every row adds up to 1."""
    weights = weights_of(model, trace, prefix, attention, layer, rows, row).float().cpu()
    base = f"{prefix}layers.{layer}.{attention.spec.site}"
    num_keys = trace[f"{base}key"].shape[2]
    if heads == "plain":
        return _exact(weights.mean(0), num_keys)
    mixed = trace[f"{base}mixed"][row]
    lengths = written_lengths(attention, mixed[:, rows.to(mixed.device)])
    total = lengths.sum(0, keepdim=True)
    counts = torch.where(total > 0, lengths / total, 1 / len(lengths))
    return _exact(torch.einsum("hq,hqk->qk", counts.float(), weights), num_keys)


def _exact(mix: Tensor, num_keys: int) -> Tensor:
    """Rows that add up to 1 in float64, where a softmax does in its own few digits; with zeros for the keys that nobody sees.

    mix: [query, key] -> [query, key].
    """
    mix = torch.nn.functional.pad(mix.double(), (0, num_keys - mix.shape[1]))
    return mix / mix.sum(-1, keepdim=True)


def _check(column: int, last: int, heads: str) -> None:
    if not 0 <= column <= last:
        raise CutawayError(
            f"column is {column}. Columns run from 0, before the first layer, to {last}, behind the last."
        )
    if heads not in ("written", "plain"):
        raise CutawayError(
            f"heads is '{heads}'. Allowed: 'written' (by the length of what they write), 'plain' (alike)."
        )


LABELS = 176
"""Pixels at the left of a loom for its tokens and their shares."""


def _drawn(found: Rollout, theme: Theme) -> Sheet:
    sheet = Sheet(theme=theme)
    words = found.tokens or tuple(map(str, range(len(found.main.shares[0]))))
    how = "by the length of what they write" if found.heads == "written" else "alike"
    depth = f"what layer {found.column - 1} gives" if found.column else "what enters the first layer"
    y = sheet.title(
        f"Where {quoted(words[found.position])} came from",
        f"Attention rollout of {depth}; heads counted {how}; each layer keeps half.",
    )
    room = sheet.room - LABELS - 2 * BOX
    if found.source is None:
        pitch = room / max(1, len(found.main.shares) - 1)
        y = _loom(found.main, words, MARGIN + LABELS, pitch, (found.position, found.column)).draw(sheet, y)
    else:
        y = _crossed(sheet, found, y, room)
    return _explained(sheet, found, y)


def _explained(sheet: Sheet, found: Rollout, y: float) -> Sheet:
    left_out = max((*found.main.left_out, *(found.source.left_out if found.source else ())), default=0.0)
    sheet.caption(
        y + 12,
        "Rows are tokens; heights and widths are shares of the vector in the frame, and every column adds up to 1. Threads below "
        f"{chance(found.threshold)} are left out (at most {chance(left_out)} of a layer). This is a sketch: it follows "
        "weights and not values, and knows nothing of feed-forward layers. Contributions measure.",
    )
    return sheet


def _loom(flow: Flow, words: tuple[str, ...], begin: float, pitch: float, look: tuple[int, int] | None) -> Loom:
    return Loom(
        tokens=words,
        shares=flow.shares,
        threads=[_triples(threads) for threads in flow.threads],
        names=["input", *(f"layer {layer}" for layer in range(len(flow.threads)))],
        look=look,
        begin=begin,
        pitch=pitch,
    )


def _crossed(sheet: Sheet, found: Rollout, y: float, room: float) -> float:
    """The source at the upper left, the target at the lower right, threads from the end of one into the layers of the other."""
    assert found.source is not None, "the source of a crossing"
    sources = found.source_tokens or tuple(map(str, range(len(found.source.shares[0]))))
    words = found.tokens or tuple(map(str, range(len(found.main.shares[0]))))
    columns = len(found.source.shares) + len(found.main.shares)
    pitch = (room - LABELS / 2) / (columns - 1)
    upper = _loom(found.source, sources, MARGIN + LABELS, pitch, None)
    begin = MARGIN + LABELS * 1.5 + pitch * len(found.source.shares)
    lower = _loom(found.main, words, begin, pitch, (found.position, found.column))
    lower.top = upper.draw(sheet, y) + 12
    cross(sheet, upper, lower, [_triples(threads) for threads in found.crossings])
    return lower.draw(sheet, lower.top)


def _triples(threads: tuple[Thread, ...]) -> list[tuple[int, int, float]]:
    return [(each.origin, each.to, each.share) for each in threads]
