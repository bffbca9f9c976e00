"""Scores of begin and end -> spans. In: two logits for each token. Out: every span's score, and the spans from the best on.

The score of a span is begin[first token] + end[last token] (Devlin et al. 2019 §4.2). All spans of at most so many tokens are
scored at once: a row for each first token, a column for each number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def span_scores(begins: Tensor, ends: Tensor, max_tokens: int) -> Tensor:
    """begins, ends: of each token. Returns row i, column n: tokens i … i + n, −inf where these are not all there."""
    longer = F.pad(ends, (0, max_tokens - 1), value=-torch.inf)
    return begins.unsqueeze(1) + longer.unfold(0, max_tokens, 1)


def best_spans(scores: Tensor) -> Iterator[tuple[int, int, float]]:
    """(first token, last token, score) of each span, the best first, of equal ones the earlier. scores: as of `span_scores`."""
    values, order = scores.flatten().sort(descending=True, stable=True)
    for value, place in zip(values.tolist(), order.tolist(), strict=True):
        if value == -torch.inf:
            return
        first, more = divmod(place, scores.shape[1])
        yield first, first + more, value
