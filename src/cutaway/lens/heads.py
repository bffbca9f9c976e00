"""Attention heads of a pass. In: its trace. Out: what every head does on this text, and one head in full.

    weights = softmax(mask(cap(q · k × scale) + bias))    (Vaswani et al. 2017, eq. 1; see model/attend.py)

The words for a head are measured on this text and say nothing about others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import Transformer
from ..model.transformer import slot
from .attending import module_of
from .trace import Trace


@dataclass(frozen=True, kw_only=True)
class HeadSummary:
    """What one head does on this text.

    first, itself, previous: the mean weight of all tokens but the first on the first token, on themselves and on the one
    before. weights: [key], those of the token looked at; source: the key of the largest.
    """

    layer: int
    head: int
    first: float
    itself: float
    previous: float
    source: int
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the token looked at takes from one key.

    product: q · k; score: what enters the softmax, None where the key is hidden; weight: what leaves it; value_norm: the
    length of the value that is taken times the weight.
    """

    index: int
    product: float
    score: float | None
    weight: float
    value_norm: float


@dataclass(frozen=True, kw_only=True)
class Head:
    """One head in full.

    scores: [query, key], None where the key is hidden; weights: [query, key]; strongest: [query], the key that each query
    looks at most. scale: what q · k is multiplied with; softcap, has_bias: what else makes a score of a product.
    sources: [key], the row of the token looked at.
    """

    layer: int
    head: int
    kv_head: int
    d_head: int
    scale: float
    softcap: float | None
    has_bias: bool
    query: tuple[float, ...]
    scores: tuple[tuple[float | None, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    strongest: tuple[int, ...]
    sources: tuple[Source, ...]


def summaries(trace: Trace, num_layers: int, position: int) -> tuple[HeadSummary, ...]:
    """Every head of every layer in order. position: the token looked at."""
    found = []
    for layer in range(num_layers):
        weights = trace[f"layers.{layer}.attention.weights"][0].double()
        for head, matrix in enumerate(weights):
            found.append(_summary(layer, head, matrix, position))
    return tuple(found)


def most_pointed(heads: tuple[HeadSummary, ...], position: int) -> HeadSummary:
    """The head whose token at `position` looks most at a token between the first and itself; the first head if there is none.

    Most heads rest on the first token or on the token itself, which says little about the text.
    """

    def pointed(summary: HeadSummary) -> float:
        return max(summary.weights[1:position], default=0.0)

    return max(heads, key=pointed)


def head_of(model: Transformer, trace: Trace, layer: int, head: int, position: int) -> Head:
    """One head in full. layer, head, position: of the model and the trace."""
    q, k, v, scores, weights = (
        trace[f"layers.{layer}.attention.{site}"][0] for site in ("query", "key", "value", "scores", "weights")
    )
    kv_head = head * k.shape[0] // q.shape[0]
    spec, stack = module_of(model.main, layer, "attention").spec, model.main.config
    hidden = scores[head] == torch.finfo(scores.dtype).min
    matrix = weights[head].double()
    return Head(
        layer=layer,
        head=head,
        kv_head=kv_head,
        d_head=stack.d_head,
        scale=spec.scale,
        softcap=spec.softcap,
        has_bias=slot(stack.kind(layer)) in model.main.bias,
        query=tuple(q[head, position].double().tolist()),
        scores=tuple(map(_scores, scores[head], hidden)),
        weights=tuple(map(tuple, matrix.tolist())),
        strongest=tuple(matrix.argmax(-1).tolist()),
        sources=_sources(
            q[head, position],
            k[kv_head],
            v[kv_head],
            _scores(scores[head, position], hidden[position]),
            matrix[position],
        ),
    )


def _summary(layer: int, head: int, matrix: Tensor, position: int) -> HeadSummary:
    later = matrix[1:] if len(matrix) > 1 else matrix
    return HeadSummary(
        layer=layer,
        head=head,
        first=float(later[:, 0].mean()),
        itself=float(matrix.diagonal()[-len(later) :].mean()),
        previous=float(matrix.diagonal(-1).mean()) if len(matrix) > 1 else 0.0,
        source=int(matrix[position].argmax()),
        weights=tuple(matrix[position].tolist()),
    )


def _scores(row: Tensor, hidden: Tensor) -> tuple[float | None, ...]:
    pairs = zip(row.double().tolist(), hidden.tolist(), strict=True)
    return tuple(None if is_hidden else score for score, is_hidden in pairs)


def _sources(q: Tensor, k: Tensor, v: Tensor, scores: tuple[float | None, ...], weights: Tensor) -> tuple[Source, ...]:
    """q: [d_head]; k, v: [key, d_head]."""
    products, norms = (k.double() @ q.double()).tolist(), v.double().norm(dim=-1).tolist()
    rows = zip(products, scores, weights.tolist(), norms, strict=True)
    return tuple(
        Source(index=index, product=product, score=score, weight=weight, value_norm=norm)
        for index, (product, score, weight, norm) in enumerate(rows)
    )
