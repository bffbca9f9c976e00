"""How well a model predicts a text file. In: a model and a file. Out: loss, perplexity, bits per byte.

A model that says the next token: exact. Every token is scored once, each from at least half a context of what came before it
(Press et al. 2021, sliding window). A model of hidden tokens: a bound, the mean over draws of what is hidden, each window a text
of its own (see `train.likelihood`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data import Source, encode_documents, read_documents, sequential
from ..errors import CutawayError
from ..lm import LM
from ..train.likelihood import Bound, bound
from ..train.score import score, to_bits

MOST_WINDOW = 2048


@dataclass(frozen=True, slots=True)
class Evaluation:
    """loss: nats a token. perplexity: exp(loss). bits_per_byte, bits_per_character: of the text, comparable between tokenizers.

    estimate: whether they are exact, or an upper bound that was drawn; standard_error: of the bits per byte, None where
    exact or drawn once.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    bits_per_character: float
    tokens: int
    bytes: int
    estimate: Literal["exact", "bound"] = "exact"
    standard_error: float | None = None


def evaluate(
    lm: LM,
    path: Path,
    *,
    separator: str | None = None,
    window: int | None = None,
    batch_size: int = 16,
    draws: int = 4,
    progress: Callable[[float, float], None] | None = None,
) -> Evaluation:
    """Score every token of a text, JSON-lines or Parquet file.

    separator: what parts the documents of a text file. window: how many tokens the model reads at a time; None: its context,
    and at most MOST_WINDOW, since what attention takes grows with the square. batch_size: windows at a time.
    draws: of a model of hidden tokens, how often the text is hidden. progress: is told the tokens scored and those in all.
    Raises CutawayError for a file that cannot be read, holds no text, or a model that predicts no text.
    """
    if batch_size < 1:
        raise CutawayError(f"batch_size is {batch_size}. It must be at least 1: it counts windows of text.")
    if window is not None and not 1 <= window <= lm.config.context:
        raise CutawayError(f"window is {window}. It runs from 1 to the context of the model, {lm.config.context:,}.")
    if lm.config.decoder is None or lm.config.has_cross:
        raise CutawayError(f"'{lm.name}' is no decoder-only model: it does not predict a text by itself.")
    tokenizer = lm.tokenizer
    sizes = Sizes()
    documents = sizes.counting(read_documents(Source(files=str(path), separator=separator)))
    end_id = None if tokenizer.frame[0] else tokenizer.roles.eos  # what begins each document parts it from the last
    corpus = encode_documents(
        documents, tokenizer.encode_begun, end_id=end_id, vocab_size=tokenizer.vocab_size, name=str(path)
    )
    context = min(lm.config.context, MOST_WINDOW) if window is None else window
    total = corpus.num_tokens * (1 if lm.config.says_next else draws)
    tell = None if progress is None else lambda done: progress(done, total)
    if lm.config.says_next:
        stride = max(1, context // 2)
        score_of = score(lm.model, corpus, context=context, batch_size=batch_size, stride=stride, progress=tell)
        return evaluation(*score_of, sizes)
    found = bound(lm.model, lambda: sequential(corpus, context, batch_size), draws=draws, progress=tell)
    if not found.tokens:
        raise CutawayError(
            f"window is {context}, and no token of {path} is hidden: '{lm.name}' was trained to {lm.config.taught}, so the first "
            "of each window is given. Take a longer window, or a longer text."
        )
    return evaluation(found.nats, found.tokens, found.num_bytes, sizes, found)


class Sizes:
    """Characters and bytes of the texts that went by."""

    def __init__(self) -> None:
        self.characters = self.bytes = 0

    def counting(self, documents: Iterable[str]) -> Iterator[str]:
        """The same texts, counted as they go by."""
        for text in documents:
            self.count(text)
            yield text

    def count(self, text: str) -> None:
        """One more text."""
        self.characters += len(text)
        self.bytes += len(text.encode())


def evaluation(nats: float, tokens: float, num_bytes: float, sizes: Sizes, drawn: Bound | None = None) -> Evaluation:
    """What these sums say: nats, tokens and bytes of what was scored; sizes: of the texts; drawn: of a bound."""
    loss = nats / tokens
    error = math.nan if drawn is None else to_bits(drawn.standard_error) / num_bytes
    return Evaluation(
        loss,
        math.exp(min(loss, 700)),
        to_bits(nats) / num_bytes,
        to_bits(nats) / num_bytes * sizes.bytes / max(1, sizes.characters),
        int(tokens),
        round(num_bytes),
        "exact" if drawn is None else "bound",
        None if math.isnan(error) else error,
    )
