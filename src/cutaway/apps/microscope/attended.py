"""What heads do on a text. In: the queries and keys of a run. Out: measures and pictures of all heads of a layer.

No matrix of the square of the text is held: rows are made in blocks (`lens.attending`), and what is wanted of a block (its
largest weights, its means) is kept in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...lens.attending import Attending, Block, attending
from ...lens.rollout import mix_of
from .passes import Pass, Strand

ROWS = 64  # of a block
MOST_NUMBERS = 2**23  # of a block: fewer heads are taken at a time where there are many
MOST_KEPT = 2**30  # bytes of the mixes of a run
OVERVIEW = 256  # a picture of a head has at most so many rows and columns


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What all heads of a layer do on the whole text.

    first, itself, previous: the mean weight of all tokens but the first on the first token, on themselves and on the one before.
    spread: 1 / Σ w² of a token, the number of sources among which it is as if it looked at each alike, as a share of those that
    it sees; the mean. pictures: [head, query, key], the largest weights in squares of 2^level.
    """

    first: tuple[float, ...]
    itself: tuple[float, ...]
    previous: tuple[float, ...]
    spread: tuple[float, ...]
    pictures: Tensor
    level: int


def heads_of(found: Pass, strand: Strand, layer: int, block: Block) -> Attending:
    """The heads of a layer. Raises CutawayError for a layer or a block that the stack has not."""
    return attending(found.model, found.trace, strand.scope, strand.layer(layer), block)


@torch.inference_mode()
def survey(found: Pass, strand: Strand, layer: int, block: Block) -> Survey:
    """Every head of a layer, in one sweep over its weights; kept with the run."""
    key = ("survey", strand.name, layer, block)
    with found.lock:
        if key not in found.kept:
            found.kept[key] = _survey(heads_of(found, strand, layer, block))
        kept = found.kept[key]
    assert isinstance(kept, Survey), "kept under its own key"
    return kept


@torch.inference_mode()
def mix(found: Pass, strand: Strand, layer: int, block: Block, rows: Tensor | None = None) -> Tensor:
    """What vectors behind a layer keep and take of those before it, ½ I + ½ Σ of the heads' weights: [query, key].

    In the decoder of a pair that is halved, and the other half is of the source (block cross). rows: of which queries, None: all,
    kept with the run where all of its mixes can be.
    """
    if rows is not None:
        return _mix(found, strand, layer, block, rows)
    key = ("mix", strand.name, layer, block)
    kept = found.kept.get(key)
    if isinstance(kept, Tensor):
        return kept
    made = _mix(
        found, strand, layer, block, torch.arange(len(strand))
    )  # without the lock, for which short answers would wait
    if can_be_kept(found):
        with found.lock:
            found.kept[key] = made
    return made


def can_be_kept(found: Pass) -> bool:
    """Whether the mixes of all layers of a run are few enough numbers to be kept."""
    sizes = [
        len(strand) * (len(strand) + (0 if strand.source is None else len(strand.source))) * strand.config.num_layers
        for strand in found.strands
    ]
    return 4 * sum(sizes) <= MOST_KEPT


def pooled(matrix: Tensor, level: int, *, is_share: bool) -> Tensor:
    """Squares of 2^level: their maximum, or their mean; what is left at the edges is a square too.

    matrix: [query, key], or a matrix for each of several heads, [head, query, key].
    """
    if level == 0:
        return matrix
    side, (num_rows, num_columns) = 2**level, matrix.shape[-2:]
    if is_share:  # never below 0: what is added at the edges is never the largest
        wide = F.pad(matrix, (0, -num_columns % side, 0, -num_rows % side))
        return wide.unflatten(-2, (-1, side)).amax(-2).unflatten(-1, (-1, side)).amax(-1)
    flat = matrix.reshape(-1, 1, num_rows, num_columns)
    small = F.avg_pool2d(flat, side, ceil_mode=True, count_include_pad=False)
    return small.reshape(*matrix.shape[:-2], *small.shape[-2:])


def _mix(found: Pass, strand: Strand, layer: int, block: Block, rows: Tensor) -> Tensor:
    whole = torch.empty(len(rows), heads_of(found, strand, layer, block).k.shape[1])
    for places, part in zip(torch.arange(len(rows)).split(ROWS), rows.split(ROWS), strict=True):
        whole[places] = mix_of(found.model, found.trace, strand.scope, layer, block, part).float()
    return whole


def _survey(heads: Attending) -> Survey:
    num_heads, num_rows, num_keys = len(heads.q), heads.q.shape[1], heads.k.shape[1]
    level = 0
    while max(num_rows, num_keys) > OVERVIEW * 2**level:
        level += 1
    side, size = 2**level, max(ROWS, 2**level)
    pictures = torch.zeros(num_heads, -(-num_rows // side), -(-num_keys // side))
    sums = torch.zeros(4, num_heads, dtype=torch.float64)
    count = max(1, MOST_NUMBERS // (size * num_keys))
    for start in range(0, num_heads, count):
        group = slice(start, start + count)
        for rows in torch.arange(num_rows).split(size):
            weights = heads.weights(rows, group)
            small, first = pooled(weights, level, is_share=True), int(rows[0]) // side
            pictures[group, first : first + small.shape[1], : small.shape[2]] = small
            sums[:, group] += _sums(weights, rows, heads.num_seen(rows), is_square=not heads.is_cross)
    first, itself, previous, spread = (tuple(each) for each in (sums / max(1, num_rows - 1)).tolist())
    return Survey(first=first, itself=itself, previous=previous, spread=spread, pictures=pictures, level=level)


def _sums(weights: Tensor, rows: Tensor, num_seen: Tensor, *, is_square: bool) -> Tensor:
    """What a block adds to the four means: [4, head]. The first token is left out, unless it is the only one."""
    first, nothing = int(rows[0]), weights.new_zeros(1)
    if first == 0 and len(rows) > 1:
        weights, num_seen, first = weights[:, 1:], num_seen[1:], 1
    parts = [
        weights[..., 0],
        weights.diagonal(first, 1, 2) if is_square else nothing,
        weights.diagonal(first - 1, 1, 2) if is_square and first > 0 else nothing,
        1 / torch.linalg.vector_norm(weights, dim=-1).square() / num_seen,
    ]
    return torch.stack([part.double().sum(-1).expand(len(weights)) for part in parts])
