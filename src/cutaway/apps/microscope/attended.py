"""Weights of attention, on demand. In: the queries and keys of a run. Out: any rows of any head, as the model has them.

    weights = softmax(mask(cap(q · k × scale) + bias))    (model/attend.py, whose numbers these are)

No matrix of the square of the text is held: rows are made in blocks, and what is wanted of a block (its largest weights, its
means) is kept in its place. Mask and bias of a block come from the model's own modules, asked for these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import CutawayError
from ...model.attention import Attention, CrossAttention
from ...model.call import Frame, Spec
from ...model.transformer import make_cross_frame
from ...model.visibility import Tokens
from .asks import Block
from .passes import Pass, Strand

HIDDEN = torch.finfo(torch.float32).min  # the score of a key that is not visible
ROWS = 256  # of a block
MOST_NUMBERS = 2**23  # of a block: fewer heads are taken at a time where there are many
OVERVIEW = 256  # a picture of a head has at most so many rows and columns


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of one layer in a run. q: [head, query, d_head]; k, v: [kv_head, key, d_head]; block: attention or cross."""

    strand: Strand
    layer: int
    block: Block
    attention: Attention
    q: Tensor
    k: Tensor
    v: Tensor
    recorded_scores: Tensor | None
    recorded_weights: Tensor | None

    @property
    def spec(self) -> Spec:
        """Scale and cap of the scores."""
        return self.attention.spec

    @property
    def site(self) -> str:
        """What the sites of these heads begin with."""
        return f"{self.strand.scope}layers.{self.layer}.{self.block}."

    @property
    def has_bias(self) -> bool:
        """Whether the scores have a bias."""
        return self.block == "attention" and self.frame(0, 1, len(self.strand)).bias is not None

    def kv_head(self, head: int) -> int:
        """The head whose keys and values a query head uses."""
        return head * len(self.k) // len(self.q)

    def frame(self, first: int, end: int, num_keys: int) -> Frame:
        """What the model knows about who sees whom, for some queries and the first keys."""
        strand = self.strand
        queries = _part(strand.tokens, first, end)
        if self.block == "cross":
            assert strand.source is not None, "cross-attention has a source"
            return make_cross_frame(queries, strand.source.tokens)
        return strand.stack.frame(strand.config.kind(self.layer), queries, _part(strand.tokens, 0, num_keys))

    def unmasked(self, heads: slice, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Scores before the mask, and whether each key is visible. -> [head, query, key], [1, query, key].

        The keys end where no query of the block sees further.
        """
        num_keys = end if self._is_causal else self.k.shape[1]
        frame = self.frame(first, end, num_keys)
        k = self.k[:, :num_keys].repeat_interleave(len(self.q) // len(self.k), dim=0)[heads]
        scores = self.q[heads, first:end] @ k.transpose(-1, -2) * self.spec.scale
        if self.spec.softcap is not None:
            scores = torch.tanh(scores / self.spec.softcap) * self.spec.softcap
        if frame.bias is not None:
            scores = scores + frame.bias[0, heads]
        return scores, frame.allowed()[0]

    def scores(self, heads: slice, first: int, end: int) -> Tensor:
        """As they enter the softmax: [head, query, key], HIDDEN where a key is not visible."""
        if self.recorded_scores is not None:
            return self.recorded_scores[heads, first:end]
        scores, allowed = self.unmasked(heads, first, end)
        return scores.masked_fill(~allowed, HIDDEN)

    def weights(self, heads: slice, first: int, end: int) -> Tensor:
        """[head, query, key]; keys after the last visible one are left out."""
        if self.recorded_weights is not None:
            return self.recorded_weights[heads, first:end]
        return torch.softmax(self.scores(heads, first, end), dim=-1)

    def blocks(self, heads: slice, size: int = ROWS) -> Iterator[tuple[int, Tensor]]:
        """Weights from the first row to the last: (first row, [head, query, key])."""
        for first in range(0, self.q.shape[1], size):
            yield first, self.weights(heads, first, min(first + size, self.q.shape[1]))

    @property
    def _is_causal(self) -> bool:
        return self.block == "attention" and self.strand.tokens.flag == "causal"


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


def heads_of(found: Pass, strand: Strand, layer: int, block: Block) -> Heads:
    """The heads of a layer. Raises CutawayError for a layer or a block that the stack has not."""
    strand.layer(layer)
    if block == "cross" and strand.source is None:
        raise CutawayError(
            "This stack has no cross-attention: it looks at no other stack. Ask for the block attention."
        )
    kind = CrossAttention if block == "cross" else Attention
    module = strand.stack.layers[layer % strand.config.num_distinct]
    attention = next(each for each in module.modules() if type(each) is kind)
    site = f"{strand.scope}layers.{layer}.{block}."
    q, k, v = (found.tensor(site + name) for name in ("query", "key", "value"))
    scores, weights = (
        found.tensor(site + name) if site + name in found.trace else None for name in ("scores", "weights")
    )
    return Heads(
        strand=strand,
        layer=layer,
        block=block,
        attention=attention,
        q=q,
        k=k,
        v=v,
        recorded_scores=scores,
        recorded_weights=weights,
    )


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


def pooled(matrix: Tensor, level: int, *, is_share: bool) -> Tensor:
    """Squares of 2^level: their maximum, or their mean. matrix: [..., row, column]; what is left at the edges is a square too."""
    if level == 0:
        return matrix
    side, flat = 2**level, matrix.reshape(-1, 1, *matrix.shape[-2:])
    if is_share:
        small = F.max_pool2d(flat, side, ceil_mode=True)
    else:
        small = F.avg_pool2d(flat, side, ceil_mode=True, count_include_pad=False)
    return small.reshape(*matrix.shape[:-2], *small.shape[-2:])


def _survey(heads: Heads) -> Survey:
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
        for first, weights in heads.blocks(group, size):
            small = pooled(weights, level, is_share=True)
            pictures[group, first // side : first // side + small.shape[1], : small.shape[2]] = small
            sums[:, group] += _sums(weights, first, is_square=heads.block == "attention")
    means = (sums / max(1, num_rows - 1)).tolist()
    return Survey(
        first=tuple(means[0]),
        itself=tuple(means[1]),
        previous=tuple(means[2]),
        spread=tuple(means[3]),
        pictures=pictures,
        level=level,
    )


def _sums(weights: Tensor, first: int, *, is_square: bool) -> Tensor:
    """What a block adds to the four means: [4, head]. The first token is left out, unless it is the only one."""
    if first == 0 and weights.shape[1] > 1:
        weights, first = weights[:, 1:], 1
    visible = (weights > 0).sum(-1).clamp_min(1)
    parts = [
        weights[..., 0],
        weights.diagonal(first, 1, 2) if is_square else weights.new_zeros(1),
        weights.diagonal(first - 1, 1, 2) if is_square and first > 0 else weights.new_zeros(1),
        1 / weights.square().sum(-1) / visible,
    ]
    return torch.stack([part.double().sum(-1).expand(len(weights)) for part in parts])


def _part(tokens: Tokens, first: int, end: int) -> Tokens:
    """Some of the tokens; a promise about all of them says nothing about these."""
    return Tokens(tokens.fields[:, :, first:end])
