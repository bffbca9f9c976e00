"""First weights. In: a model and a generator. Out: the same model, ready to train (Radford et al. 2019 §2.3).

Matrices and embeddings are normal with a small deviation; those that write into the residual stream are smaller by
1/sqrt(2 · layers), so that the stream's size does not depend on depth. Norms keep ones, biases zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

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


def with_labels(model: Transformer, num_labels: int, generator: torch.Generator, std: float = 0.02) -> Transformer:
    """An encoder with scores of each token in place of what ended it: the same stack and new labels, or itself if it has as many.

    generator, std: as in `initialise`, of the new labels.
    """
    if model.config.num_labels == num_labels:
        return model
    bare = replace(model.config, has_head=False, has_pooler=False, head_bias=False, head_transform=None, is_tied=True)
    made = Transformer(replace(bare, num_labels=num_labels)).to(model.token.weight.dtype)
    assert made.labels is not None, "asked for"
    nn.init.normal_(made.labels.projection.weight, std=std, generator=generator)
    kept = {name: weight for name, weight in model.state_dict().items() if name.split(".")[0] in ("token", "encoder")}
    own = {name: weight for name, weight in made.state_dict().items() if name.startswith("labels.")}
    made.load_state_dict({**kept, **own})
    return made.eval()


@torch.no_grad()
def begin_token(model: Transformer, token_id: int, others: Sequence[int]) -> None:
    """Give a token its rows of the embedding and of the head, in place: the mean of those of the others (Hewitt 2021).

    token_id: a row that nothing uses, or the one behind the last, which is then added. What is said of all other ids stays.
    """
    kept = torch.tensor([other for other in others if other != token_id], device=model.token.weight.device)
    head = None if model.head is None else model.head.projection
    is_tied = head is not None and head.weight is model.token.weight
    model.token.weight = _with_mean(model.token.weight, token_id, kept)
    if head is not None:
        head.weight = model.token.weight if is_tied else _with_mean(head.weight, token_id, kept)
        head.bias = None if head.bias is None else _with_mean(head.bias, token_id, kept)
    model.config = replace(model.config, vocab_size=len(model.token.weight))


def _with_mean(weight: nn.Parameter, row: int, others: Tensor) -> nn.Parameter:
    """The parameter whose `row`, there or behind the last, is the mean of the others."""
    assert row <= len(weight), "a row of the table, or the next one"
    mean = weight[others].float().mean(0, keepdim=True).to(weight.dtype)
    return nn.Parameter(torch.cat([weight[:row], mean, weight[row + 1 :]]), requires_grad=weight.requires_grad)


def _shrink_writers(stack: Stack) -> None:
    factor = (2 * stack.config.num_layers) ** -0.5
    for module in stack.modules():
        if isinstance(module, (Attention, FeedForward)):
            with torch.no_grad():
                module.output.weight.mul_(factor)
