"""What enters the first layer, taken apart. In: the trace of a pass. Out: each token's two vectors, shares and neighbours.

The input of a token is x = t + p: its row t of the token table (times the embedding scale) and its row p of the position table
(Vaswani et al. 2017 §3.4–3.5). The shares are those of the squared lengths, which are never negative and add up to 1:

    word = |t|² / (|t|² + |p|²),    position = |p|² / (|t|² + |p|²)

|x|² = |t|² + |p|² + 2 t·p, so they are the shares of |x|² itself when t and p are at right angles; `cosine` says how nearly
they are. A model that adds no table has position 0 and word 1; `order` then says where order enters instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import StackConfig
from .trace import Trace
from .words import Names

ROWS, MOST_AT_ONCE = 8192, 64  # of a table that are made float64 at a time; words whose neighbours are found together
_ORDER = {
    "none": "no part of the model but the mask is told the order",
    "learned": "a learned row for each position is added to the token's row",
    "sinusoidal": "a fixed row of sines and cosines for each position is added to the token's row",
    "rotary": "queries and keys are turned by an angle that grows with their position, in every layer",
    "relative": "a learned number for the distance of two tokens is added to their attention score",
    "alibi": "attention scores fall with the distance of two tokens, by a fixed slope for each head",
}


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A row of the token table that points the same way. cosine: of the angle between the two rows."""

    id: int
    text: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Input:
    """What enters the first layer for one token: word + position = sum (normed where the model norms its embedding).

    word, position, sum: [d_model] numbers; *_norm: their Euclidean lengths. word_share, position_share: see the file's
    equation. cosine: between word and position, 0 where either is zero. neighbours: the nearest words.
    """

    word: tuple[float, ...]
    position: tuple[float, ...]
    sum: tuple[float, ...]
    word_norm: float
    position_norm: float
    sum_norm: float
    word_share: float
    position_share: float
    cosine: float
    neighbours: tuple[Neighbour, ...]


def inputs_of(trace: Trace, table: Tensor, words: Names, count: int) -> tuple[Input, ...]:
    """The inputs of a traced row. table: [vocab, d_model], the token table; count: how many neighbours each has."""
    word, position, total = (trace[f"embedding.{part}"][0].double().cpu() for part in ("token", "position", "sum"))
    nearest = neighbours(table, trace.ids[0].tolist(), words, count)
    return tuple(map(_input, word, position, total, nearest))


def neighbours(table: Tensor, ids: Sequence[int], words: Names, count: int) -> list[tuple[Neighbour, ...]]:
    """For each id the words whose rows of the table have the largest cosine with its row, itself left out.

    table: [vocab, d_model]. A row of zeros has no direction, and cosine 0 with every other.
    """
    is_word, distinct = words.are_words(), list(dict.fromkeys(ids))
    found: dict[int, tuple[Neighbour, ...]] = {}
    for start in range(0, len(distinct), MOST_AT_ONCE):
        some = distinct[start : start + MOST_AT_ONCE]
        cosines = _cosines(table, table[some])
        found |= {i: _best(cosines[:, place], [i], is_word, words, count) for place, i in enumerate(some)}
    return [found[token_id] for token_id in ids]


def nearest(
    directions: Tensor, direction: Tensor, left_out: Sequence[int], is_word: Tensor, words: Names, count: int
) -> tuple[Neighbour, ...]:
    """The words whose rows have the largest cosine with a direction. directions: [vocab, d_model], rows of length 1 or 0."""
    return _best(directions @ F.normalize(direction, dim=0), left_out, is_word, words, count)


def _cosines(table: Tensor, rows: Tensor) -> Tensor:
    """The cosine of each row of the table with each of some rows, [vocab, position] float64; a part of the table at a time."""
    aims = F.normalize(rows.double(), dim=-1).T
    return torch.cat([F.normalize(part.double(), dim=-1) @ aims for part in table.split(ROWS)])


def _best(cosines: Tensor, left_out: Sequence[int], is_word: Tensor, words: Names, count: int) -> tuple[Neighbour, ...]:
    """The words of the largest cosines. cosines: [vocab]."""
    cosines = cosines.masked_fill(~is_word, -torch.inf)
    cosines[list(left_out)] = -torch.inf
    best, best_ids = cosines.topk(min(count, int(cosines.isfinite().sum())))
    pairs = zip(best_ids.tolist(), best.tolist(), strict=True)
    return tuple(Neighbour(id=i, text=words.text(i), cosine=c) for i, c in pairs)


def order_of(stack: StackConfig) -> str:
    """Where order enters, as a sentence; several kinds where layer types differ."""
    kinds = dict.fromkeys(position.kind for position in stack.positions().values())
    said = "; ".join(_ORDER[kind] for kind in kinds)
    return f"{said[:1].upper()}{said[1:]}."


def _input(word: Tensor, position: Tensor, total: Tensor, nearest: tuple[Neighbour, ...]) -> Input:
    word_square, position_square = float(word @ word), float(position @ position)
    squares = word_square + position_square
    position_share = position_square / squares if squares else 0.0
    return Input(
        word=tuple(word.tolist()),
        position=tuple(position.tolist()),
        sum=tuple(total.tolist()),
        word_norm=word_square**0.5,
        position_norm=position_square**0.5,
        sum_norm=float(total.norm()),
        word_share=1.0 - position_share,
        position_share=position_share,
        cosine=float(F.cosine_similarity(word, position, dim=0)),
        neighbours=nearest,
    )
