"""How well a model predicts a text. In: a model and a corpus. Out: nats, tokens and bytes, every token scored once.

perplexity = exp(nats / tokens)      bits per byte = nats / (ln 2 · bytes)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from ..data import Batch, Corpus, sequential
from ..model import Transformer
from ..objectives import Task, causal, cross_entropy
from .step import mixed, predict


def score(
    model: Transformer,
    corpus: Corpus,
    *,
    context: int,
    batch_size: int,
    stride: int | None = None,
    packed_with: int | None = None,
    precision: str = "fp32",
    progress: Callable[[float], None] | None = None,
) -> tuple[float, float, float]:
    """The sum of −log p over the corpus in nats, the tokens scored, and their UTF-8 bytes.

    stride, packed_with: see `data.sequential`. progress: is told the tokens scored so far after every batch.
    """
    batches = sequential(corpus, context, batch_size, stride=stride, packed_with=packed_with)
    return score_batches(model, batches, precision, progress)


def score_batches(
    model: Transformer,
    batches: Iterable[Batch],
    precision: str = "fp32",
    progress: Callable[[float], None] | None = None,
) -> tuple[float, float, float]:
    """As `score`, of batches."""
    return score_tasks(model, ((causal(batch), batch.num_bytes) for batch in batches), precision, progress)


@torch.inference_mode()
def score_tasks(
    model: Transformer,
    tasks: Iterable[tuple[Task, float]],
    precision: str,
    progress: Callable[[float], None] | None = None,
) -> tuple[float, float, float]:
    """As `score`, of tasks with the UTF-8 bytes that each scores."""
    nats = tokens = num_bytes = 0.0
    for task, size in tasks:
        here = task.to(model.token.weight.device)
        with mixed(precision, model):
            logits = predict(model, here)
        nats += float(cross_entropy(logits, here))
        tokens += task.num_scored
        num_bytes += size
        if progress is not None:
            progress(tokens)
    return nats, tokens, num_bytes


def bits_per_byte(nats: float, num_bytes: float) -> dict[str, float]:
    """Bits a byte under their name, for an event; nothing where no text is predicted."""
    return {"bits_per_byte": to_bits(nats) / num_bytes} if num_bytes else {}


def to_bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)
