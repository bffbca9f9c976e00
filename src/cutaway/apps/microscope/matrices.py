"""One matrix of a run. In: a site, a head, rows, columns and a level. Out: its numbers, pooled where the level asks for it.

Signed numbers are pooled by their mean, shares (weights of attention, a router's chances) by their maximum, so that a bright cell
survives. Squares are counted from the matrix's own corner: beginnings are moved down to a multiple of the square's side.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import CutawayError, near
from ...lens.attending import HIDDEN, Block, module_of
from ...lens.parts import matrix_of as matrix_of_module
from .asks import AskTensor
from .attended import ROWS, heads_of, mix, pooled, survey
from .passes import Pass, Strand, within
from .wire import Body, matrix_body

MOST_NUMBERS = 2**24  # of one answer
MOST_LEVELS = 13
LEARNED = "weights."  # what addresses of learned matrices begin with
_NUMBER = re.compile(r"[0-9]{1,9}")
_LAYER = re.compile(r"(?:(encoder|decoder)\.)?layers\.(\d{1,4})\.")


class _Span(NamedTuple):
    begin: int
    end: int


def matrix_of(found: Pass, ask: AskTensor) -> Body:
    """The matrix. Raises CutawayError for what the run has not, and for more numbers than one answer may hold."""
    within("level", ask.level, MOST_LEVELS, "levels")
    prefix, _, name = ask.site.rpartition(".")
    block = prefix.rpartition(".")[2]
    with torch.inference_mode():
        if name in ("weights", "scores") and block in ("attention", "cross"):
            return matrix_body(_attended(found, ask, "cross" if block == "cross" else "attention"), None)
        if ask.site == "output.logits":
            return matrix_body(_logits(found, ask), None)
        if ask.site.startswith(LEARNED):
            learned = _learned(found, ask)
            return matrix_body(learned, float(learned.double().std(correction=0)))
        if name == "mix":
            return matrix_body(_mix(found, ask), None)
        return _recorded(found, ask, is_share=name == "router")


def _recorded(found: Pass, ask: AskTensor, *, is_share: bool) -> Body:
    tensor = found.tensor(ask.site)
    matrix = tensor
    for axis, number in enumerate(_index(ask, tensor.ndim - 2)):
        matrix = matrix[within(f"index[{axis}]", number, len(matrix), f"entries of {ask.site}")]
    matrix = matrix.reshape(1, -1) if matrix.ndim < 2 else matrix
    rows, columns = _spans(ask, *matrix.shape[-2:])
    part = matrix[rows.begin : rows.end, columns.begin : columns.end]
    return matrix_body(
        pooled(part, ask.level, is_share=is_share), None if is_share else _deviation(found, ask.site, tensor)
    )


def _attended(found: Pass, ask: AskTensor, block: Block) -> Tensor:
    """Scores (the smallest float32 where a key is hidden) or weights of one head."""
    strand, layer = _layer(found, ask.site)
    heads = heads_of(found, strand, layer, block)
    (index,) = _index(ask, 1)
    head = slice(strand.head(index), index + 1)
    rows, columns = _spans(ask, heads.q.shape[1], heads.k.shape[1])
    if ask.site.endswith("scores"):
        if ask.level:
            raise CutawayError("Scores are not pooled: hidden ones have no mean. Ask for level 0, or for the weights.")
        return _wide(heads.scores(torch.arange(rows.begin, rows.end), head)[0], columns, HIDDEN)
    if ask.level:
        seen = survey(found, strand, layer, block)
        if ask.level >= seen.level:
            picture, side = pooled(seen.pictures[index], ask.level - seen.level, is_share=True), 2**ask.level
            return picture[rows.begin // side : -(-rows.end // side), columns.begin // side : -(-columns.end // side)]
    parts = torch.arange(rows.begin, rows.end).split(max(ROWS, 2**ask.level))
    blocks = [pooled(_wide(heads.weights(part, head)[0], columns, 0.0), ask.level, is_share=True) for part in parts]
    return torch.cat(blocks)


def _mix(found: Pass, ask: AskTensor) -> Tensor:
    """What each vector behind a layer keeps and takes of those before it, as rollout has it; cross.mix: of the source."""
    strand, layer = _layer(found, ask.site)
    block: Block = "cross" if ask.site.endswith("cross.mix") else "attention"
    heads = heads_of(found, strand, layer, block)
    rows, columns = _spans(ask, heads.q.shape[1], heads.k.shape[1])
    taken = mix(found, strand, layer, block, torch.arange(rows.begin, rows.end))
    return pooled(taken[:, columns.begin : columns.end], ask.level, is_share=True)


def _learned(found: Pass, ask: AskTensor) -> Tensor:
    """One head of a learned matrix: [d_head, d_model], of the output [d_model, d_head]."""
    strand, layer = _layer(found, ask.site.removeprefix(LEARNED))
    block, name = ask.site.rsplit(".", 2)[1:]
    attention = module_of(strand.stack, layer, "cross" if block == "cross" else "attention")
    projections = {
        "query": attention.query, "key": attention.key, "value": attention.value, "output": attention.output
    }  # fmt: skip
    if block not in ("attention", "cross") or name not in projections:
        raise CutawayError(f"There are no learned numbers '{ask.site}'.{near(name, projections)}")
    matrix, (index,), width = matrix_of_module(projections[name]), _index(ask, 1), strand.config.d_head
    count = matrix.shape[1 if name == "output" else 0] // width
    start = width * within("index", index, count, "heads of this matrix")
    part = matrix[:, start : start + width] if name == "output" else matrix[start : start + width]
    rows, columns = _spans(ask, *part.shape)
    return pooled(part[rows.begin : rows.end, columns.begin : columns.end], ask.level, is_share=False)


def _layer(found: Pass, site: str) -> tuple[Strand, int]:
    """The stack and the layer that a site names. Raises CutawayError where it names none."""
    place = _LAYER.match(site)
    if place is None:
        raise CutawayError(f"This run has no site '{site:.80}'.")
    strand = found.strand(place[1] or "")
    return strand, strand.layer(int(place[2]))


def _logits(found: Pass, ask: AskTensor) -> Tensor:
    rows, columns = _spans(ask, len(found.main), found.opened.lm.config.vocab_size)
    side = max(ROWS, 2**ask.level)
    parts = [
        found.logits(first, min(first + side, rows.end))[:, columns.begin : columns.end]
        for first in range(rows.begin, rows.end, side)
    ]
    return torch.cat([pooled(part, ask.level, is_share=False) for part in parts])


def _wide(part: Tensor, columns: _Span, value: float) -> Tensor:
    """The columns of a block whose last keys may be left out: [query, key]."""
    missing = columns.end - part.shape[1]
    wide = part if missing <= 0 else F.pad(part, (0, missing), value=value)
    return wide[:, columns.begin : columns.end]


def _index(ask: AskTensor, count: int) -> list[int]:
    """The numbers of the axes before the last two."""
    parts = [part for part in ask.index.split(",") if part]
    if len(parts) != max(0, count) or not all(_NUMBER.fullmatch(part) for part in parts):
        what = {0: "no index", 1: "an index of one number, a head"}.get(max(0, count), f"an index of {count} numbers")
        raise CutawayError(f"index is '{ask.index:.40}'. {ask.site} takes {what}.")
    return [int(part) for part in parts]


def _spans(ask: AskTensor, num_rows: int, num_columns: int) -> tuple[_Span, _Span]:
    """Rows and columns, moved out to whole squares."""
    rows, columns = (
        _span(name, text, count, 2**ask.level)
        for name, text, count in (("rows", ask.rows, num_rows), ("columns", ask.columns, num_columns))
    )
    size = (rows.end - rows.begin) * (columns.end - columns.begin) // 4**ask.level
    if size > MOST_NUMBERS:
        raise CutawayError(
            f"{size:,} numbers are more than one answer holds, {MOST_NUMBERS:,}. Ask for fewer rows, or a level."
        )
    return rows, columns


def _span(name: str, text: str, count: int, side: int) -> _Span:
    begin, mark, end = text.partition(":")
    if text and not (mark and all(_NUMBER.fullmatch(part) for part in (begin, end) if part)):
        raise CutawayError(f"{name} is '{text:.40}'. It takes begin:end, two whole numbers.")
    first, last = int(begin or 0), min(int(end or count), count)
    if not 0 <= first < last:
        raise CutawayError(
            f"{name} is '{text:.40}'. They are numbered from 0 to {count - 1}; the end comes after the beginning."
        )
    return _Span(first // side * side, min(-(-last // side) * side, count))


def _deviation(found: Pass, site: str, tensor: Tensor) -> float:
    """The standard deviation of all numbers of the site; computed once."""
    key = ("deviation", site)
    with found.lock:
        if key not in found.kept:
            found.kept[key] = float(tensor.double().std(correction=0))
        kept = found.kept[key]
    assert isinstance(kept, float), "kept under its own key"
    return kept
