"""How well a model predicts a text file. In: a model and a file. Out: loss, perplexity, bits per byte; exact, not sampled.

Every token is scored once, each from at least half a context of what came before it (Press et al. 2021, sliding window).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data import Source, encode_documents, read_documents
from ..errors import CutawayError
from ..lm import LM
from ..train.score import score, to_bits

MOST_WINDOW = 2048


@dataclass(frozen=True, slots=True)
class Evaluation:
    """loss: nats a token. perplexity: exp(loss). bits_per_byte: of the UTF-8 text, comparable between tokenizers."""

    loss: float
    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int


def evaluate(
    lm: LM,
    path: Path,
    *,
    separator: str | None = None,
    window: int | None = None,
    batch_size: int = 16,
    progress: Callable[[float, float], None] | None = None,
) -> Evaluation:
    """Score every token of a text, JSON-lines or Parquet file.

    separator: what parts the documents of a text file. window: how many tokens the model reads at a time; None: its context,
    and at most MOST_WINDOW, since what attention takes grows with the square. batch_size: windows at a time.
    progress: is told the tokens scored and those in all.
    Raises CutawayError for a file that cannot be read, holds no text, or a model that does not predict the next token.
    """
    if batch_size < 1:
        raise CutawayError(f"batch_size is {batch_size}. It must be at least 1: it counts windows of text.")
    if window is not None and not 1 <= window <= lm.config.context:
        raise CutawayError(f"window is {window}. It runs from 1 to the context of the model, {lm.config.context:,}.")
    if lm.config.decoder is None or lm.config.has_cross:
        raise CutawayError(f"'{lm.name}' is no decoder-only model: it does not predict a text from left to right.")
    tokenizer = lm.tokenizer
    documents = read_documents(Source(files=str(path), separator=separator))
    end_id = None if tokenizer.frame[0] else tokenizer.roles.eos  # what begins each document parts it from the last
    corpus = encode_documents(
        documents, tokenizer.encode_begun, end_id=end_id, vocab_size=tokenizer.vocab_size, name=str(path)
    )
    context = min(lm.config.context, MOST_WINDOW) if window is None else window
    nats, tokens, num_bytes = score(
        lm.model,
        corpus,
        context=context,
        batch_size=batch_size,
        stride=max(1, context // 2),
        progress=None if progress is None else lambda done: progress(done, corpus.num_tokens),
    )
    loss = nats / tokens
    return Evaluation(loss, math.exp(min(loss, 700)), to_bits(nats) / num_bytes, int(tokens), round(num_bytes))
