"""Steps of training on request. In: a step, and a shape. Out: the seconds that a number of steps took.

What both sides of the training benchmark have in common: random ids, and the rates of AdamW.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-3, (0.9, 0.99), 0.1
NUM_BATCHES = 8

Step = Callable[[int, Tensor, Tensor], None]
"""One update. Its number; input_ids, target_ids: [batch, position]."""


def timed(
    step: Step, *, num_parameters: int, context: int, batch_size: int, vocab_size: int
) -> Callable[..., dict[str, float]]:
    """Steps over the same few batches of random ids, on request; the size of the model comes back with the seconds."""
    generator = torch.Generator().manual_seed(1)
    batches = torch.randint(vocab_size, (NUM_BATCHES, batch_size, context + 1), generator=generator)
    pairs = [(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()) for ids in batches]

    def answer(num_steps: int) -> dict[str, float]:
        start = time.perf_counter()
        for number in range(num_steps):
            step(number, *pairs[number % NUM_BATCHES])
        return {"seconds": time.perf_counter() - start, "num_parameters": num_parameters}

    return answer
