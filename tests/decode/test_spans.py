"""Spans from two logits a token, against every pair tried out."""

from __future__ import annotations

import pytest
import torch

from cutaway.decode import best_spans, span_scores


@pytest.mark.parametrize("max_tokens", [1, 4, 11, 40])
@pytest.mark.parametrize("length", [1, 11])
def test_every_span_once_the_best_first(length: int, max_tokens: int) -> None:
    generator = torch.Generator().manual_seed(length)
    begins, ends = torch.randn(2, length, generator=generator)
    found = list(best_spans(span_scores(begins, ends, max_tokens)))
    pairs = [(first, last) for first in range(length) for last in range(first, min(first + max_tokens, length))]
    wanted = sorted(((a, b, float(begins[a] + ends[b])) for a, b in pairs), key=lambda each: -each[2])
    assert found == wanted


def test_a_hidden_token_begins_and_ends_nothing() -> None:
    begins, ends = torch.zeros(2, 4)
    begins[0], ends[3] = -torch.inf, -torch.inf
    found = [(first, last) for first, last, _ in best_spans(span_scores(begins, ends, 4))]
    assert found == [(1, 1), (1, 2), (2, 2)]
