"""Our side of the training benchmark: steps as `cutaway train` makes them, and the machine's best matrix product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, PositionConfig, StackConfig
from cutaway.cost import flops_per_token, num_parameters
from cutaway.model import Transformer, initialise, visibility
from cutaway.objectives import Task
from cutaway.runtime.kernels import accelerate
from cutaway.runtime.memory import keep_freed_memory
from cutaway.runtime.roofline import peak_flops
from cutaway.train.optimise import make_optimisers
from cutaway.train.recipe import OptimiserRecipe
from cutaway.train.step import gradient_step, micro_seed

from .steps import BETAS, LEARNING_RATE, WEIGHT_DECAY, timed

SEED = 1
SQUARES = (1024, 2048, 4096)


def train(*, batch_size: int, **shape: int) -> Callable[..., dict[str, float]]:
    """A step in fp32 with AdamW, the gradient clipped."""
    keep_freed_memory()
    config = config_of(**shape)
    model = initialise(Transformer(config), torch.Generator().manual_seed(SEED))
    accelerate(model)
    recipe = OptimiserRecipe(
        kind="adamw", learning_rate=LEARNING_RATE, beta1=BETAS[0], beta2=BETAS[1], weight_decay=WEIGHT_DECAY
    )
    optimisers = make_optimisers(model, recipe)

    def step(number: int, input_ids: Tensor, target_ids: Tensor) -> None:
        task = Task(input_ids, visibility.causal(config.context), target_ids)
        seeds = [micro_seed(SEED, number, 0)]
        gradient_step(model, [task], optimisers, clip=recipe.clip, precision="fp32", seeds=seeds)

    return timed(
        step,
        num_parameters=num_parameters(config),
        context=config.context,
        batch_size=batch_size,
        vocab_size=config.vocab_size,
    )


def machine(**shape: int) -> Callable[..., dict[str, float]]:
    """The best rate of a square matrix product, and what a token of training costs in this shape."""
    flops = flops_per_token(config_of(**shape), shape["context"], training=True)

    def answer(seconds: float) -> dict[str, float]:
        return {"peak": max(peak_flops(size=size, seconds=seconds) for size in SQUARES), "flops_per_token": flops}

    return answer


def config_of(*, num_layers: int, num_heads: int, d_model: int, context: int, vocab_size: int) -> ModelConfig:
    """GPT-2's architecture in that shape."""
    decoder = StackConfig(
        num_layers=num_layers,
        d_model=d_model,
        attention=AttentionConfig(num_heads=num_heads),
        feedforward=FeedForwardConfig(d_hidden=4 * d_model),
        position=PositionConfig(kind="learned"),
    )
    return ModelConfig(vocab_size=vocab_size, context=context, decoder=decoder)
