"""A model for the microscope. In: a path. Out: a checkpoint of random weights with the bundled tokenizer, and texts for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import cutaway
from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from cutaway.model import Transformer, initialise
from cutaway.weights import checkpoint

CONTEXT = 4096
STORY = "Once upon a time there was a little girl named Lily who loved to play with her dog in the park. "


def write(path: str, *, num_layers: int, d_model: int, lengths: Sequence[int]) -> Callable[[], dict[str, Any]]:
    """The shape of the bundled model, larger, which reads 4,096 tokens. lengths: of the texts wanted, in tokens."""

    def answer() -> dict[str, Any]:
        tokenizer = cutaway.load("stories").tokenizer
        decoder = StackConfig(
            num_layers=num_layers,
            d_model=d_model,
            attention=AttentionConfig(num_heads=8),
            feedforward=FeedForwardConfig(d_hidden=4 * d_model),
        )
        config = ModelConfig(vocab_size=tokenizer.vocab_size, context=CONTEXT, decoder=decoder)
        model = initialise(Transformer(config), torch.Generator().manual_seed(1))
        checkpoint.save(Path(path), model, tokenizer_files=tokenizer.save)
        ids = tokenizer.encode(STORY * (max(lengths) // 16))
        texts = [tokenizer.decode(ids[turn : turn + count]) for turn, count in enumerate(lengths)]
        for text, count in zip(texts, lengths, strict=True):
            assert len(tokenizer.encode(text)) == count, "a text has as many tokens as were asked for"
        return {"parameters": sum(parameter.numel() for parameter in model.parameters()), "texts": texts}

    return answer
