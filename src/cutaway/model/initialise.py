"""First weights. In: a model and a generator. Out: the same model, ready to train (Radford et al. 2019 §2.3).

Matrices and embeddings are normal with a small deviation; those that write into the residual stream are smaller by
1/sqrt(2 · layers), so that the stream's size does not depend on depth. Norms keep ones, biases zeros.
"""

from __future__ import annotations

import torch
from torch import nn

from .attention import Attention
from .embedding import PositionTable, TokenEmbedding, TypeTable
from .feedforward import FeedForward
from .position import RelativeBias
from .projection import Projection
from .transformer import Stack, Transformer


def initialise(model: Transformer, generator: torch.Generator, std: float = 0.02) -> Transformer:
    """Fill every matrix of the model. generator: a seeded CPU generator, the only source of chance. std: deviation."""
    matrices = (Projection, TokenEmbedding, PositionTable, TypeTable, RelativeBias)
    seen: set[int] = set()
    for module in model.modules():
        if isinstance(module, matrices) and isinstance(module.weight, nn.Parameter) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            nn.init.normal_(module.weight, std=std, generator=generator)
    for stack in model.modules():
        if isinstance(stack, Stack):
            _shrink_writers(stack)
    return model


def _shrink_writers(stack: Stack) -> None:
    factor = (2 * stack.config.num_layers) ** -0.5
    for module in stack.modules():
        if isinstance(module, (Attention, FeedForward)):
            with torch.no_grad():
                module.output.weight.mul_(factor)
