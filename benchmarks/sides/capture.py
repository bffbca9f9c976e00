"""The sides of the capture benchmark, in one process. In: a size. Out: milliseconds of traced and of plain passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from cutaway.cost import num_parameters
from cutaway.lm import LM
from cutaway.model import Transformer, initialise
from cutaway.runtime.kernels import accelerate

from .taps import NUM_BLOCKS, block


def traced_and_plain(num_layers: int, d_model: int, num_heads: int, vocab_size: int) -> Callable[..., dict[str, Any]]:
    """A model as it is opened, looked into and not."""
    decoder = StackConfig(
        num_layers=num_layers,
        d_model=d_model,
        attention=AttentionConfig(num_heads=num_heads),
        feedforward=FeedForwardConfig(d_hidden=4 * d_model),
    )
    config = ModelConfig(vocab_size=vocab_size, context=1024, decoder=decoder)
    model = initialise(Transformer(config), torch.Generator().manual_seed(1)).eval().requires_grad_(False)
    accelerate(model)
    lm = LM(model, None, "random weights")

    def answer(sites: str, num_tokens: int, seconds: float) -> dict[str, Any]:
        ids = torch.randint(vocab_size, (1, num_tokens), generator=torch.Generator().manual_seed(2))
        site = lm.trace(ids, sites).names[-1]
        num_bytes = lm.trace(ids, sites).num_bytes
        blocks = [
            block(lambda: lm.trace(ids, sites)[site], lambda: lm.logits(ids), seconds / NUM_BLOCKS)
            for _ in range(NUM_BLOCKS)
        ]
        return {
            "traced": [one for one, _ in blocks],
            "plain": [other for _, other in blocks],
            "num_bytes": num_bytes,
            "num_parameters": num_parameters(config),
        }

    return answer
