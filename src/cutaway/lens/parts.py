"""The linear parts of a model, for what is computed back through them. In: its modules. Out: matrices, and norms held fixed.

A norm divides by a length that depends on its whole input. Held at the length of the pass at hand, it is linear:

    layer: y = w ∘ (x − mean x) / σ + b,  σ = sqrt(var x + eps)      rms: y = w ∘ x / σ,  σ = sqrt(mean x² + eps)

so what is a sum before it is a sum behind it (Elhage et al. 2021, "a mathematical framework for transformer circuits").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CutawayError
from ..model import Transformer
from ..model.adapter import Adapter, MaskAdapter
from ..model.attention import Attention
from ..model.block import Block, CrossBlock, ParallelBlock, Post, Pre
from ..model.masks import base_config, mask_embedding
from ..model.norm import LayerNorm, RmsNorm
from ..model.projection import Projection
from .trace import Trace


@dataclass(frozen=True, kw_only=True)
class Sublayer:
    """One thing that writes into the stream.

    name: attention, cross or feedforward. enters: the site of the stream that it is added to. attention: its module, None for
    feed-forward layers. after: the norm of what it writes; around: the norm of the sum (post placement); identities if none.
    """

    name: str
    enters: str
    attention: Attention | None
    after: nn.Module
    around: nn.Module


def sublayers(model: Transformer, layer: int, *, of_encoder: bool = False) -> list[Sublayer]:
    """The sublayers of a layer, in the order in which they write. Layers shared across depth share their modules."""
    stack = model.encoder if of_encoder else model.main
    assert stack is not None, "the model has this stack"
    block = stack.layers[layer % stack.config.num_distinct]
    if isinstance(block, ParallelBlock):
        nothing = nn.Identity()
        return [
            Sublayer(name=name, enters="residual.start", attention=module, after=nothing, around=nothing)
            for name, module in (("attention", block.attention), ("feedforward", None))
        ]
    assert isinstance(block, Block), "blocks are plain, crossed or parallel"
    found = [_wrapped("attention", "residual.start", block.attention)]
    if isinstance(block, CrossBlock):
        found.append(_wrapped("cross", "residual.middle", block.cross))
    enters = "residual.crossed" if isinstance(block, CrossBlock) else "residual.middle"
    return [*found, _wrapped("feedforward", enters, block.feedforward)]


def matrix_of(module: nn.Module) -> Tensor:
    """The matrix of a projection, whatever holds its weights: [d_out, d_in] float64 on the CPU.

    Of an adapter at masks, that at all other tokens.
    """
    if isinstance(module, MaskAdapter):
        return matrix_of(module.base)
    if isinstance(module, Adapter):
        return matrix_of(module.base) + module.change().detach().double().cpu()
    if isinstance(module, Projection):
        return module.weight.detach().double().cpu()
    raise CutawayError(
        f"A matrix is held by a {type(module).__name__}, which does not give its numbers. Load the model anew."
    )


def row_of(module: nn.Module, index: int) -> Tensor:
    """One row of `matrix_of`, without the others: [d_in] float64."""
    if isinstance(module, MaskAdapter):
        return row_of(module.base, index)
    if isinstance(module, Adapter):
        change = module.up[index].detach().double() @ module.down.detach().double() * module.knobs.scale
        return row_of(module.base, index) + change.cpu()
    if isinstance(module, Projection):
        return module.weight[index].detach().double().cpu()
    return matrix_of(module)[index]


def bias_of(module: nn.Module) -> Tensor:
    """The bias of a projection: [d_out] float64 on the CPU, zeros where it has none."""
    base = module.base if isinstance(module, Adapter) else module
    assert isinstance(base, Projection), "biases are asked of projections"
    width = base.weight.shape[0]
    return torch.zeros(width, dtype=torch.float64) if base.bias is None else base.bias.detach().double().cpu()


def written(attention: Attention, mixed: Tensor) -> Tensor:
    """What each head writes, without norm and bias: [head, position, d_head] -> [head, position, d_model] float64."""
    matrix = matrix_of(attention.output).unflatten(1, (mixed.shape[0], -1))  # [d_model, head, d_head]
    return torch.einsum("hpe,dhe->hpd", mixed.double().cpu(), matrix)


def written_lengths(attention: Attention, mixed: Tensor) -> Tensor:
    """The Euclidean length of what each head writes: [head, position, d_head] -> [head, position] float64.

    |W m|² = m · (WᵀW) m, so that no vector of the stream's width is made.
    """
    matrix = matrix_of(attention.output).unflatten(1, (mixed.shape[0], -1))
    grams = torch.einsum("dhe,dhf->hef", matrix, matrix)
    mixed = mixed.double().cpu()
    return torch.einsum("hpe,hef,hpf->hp", mixed, grams, mixed).clamp_min(0).sqrt()


def through_norm(norm: nn.Module, x: Tensor, direction: Tensor) -> tuple[Tensor, float]:
    """A direction behind a norm carried to before it, with the norm held at its input x.

    x, direction: [d_model] float64. Returns (before: [d_model], what the norm's bias gives): norm(x) · direction =
    x · before + bias.
    """
    if isinstance(norm, LayerNorm):
        before = direction * norm.weight.detach().double().cpu() / (x.var(correction=0) + norm.eps).sqrt()
        bias = 0.0 if norm.bias is None else float(norm.bias.detach().double().cpu() @ direction)
        return before - before.mean(), bias
    if isinstance(norm, RmsNorm):
        weight = norm.weight.detach().double().cpu() + norm.offset
        return direction * weight / (x.square().mean() + norm.eps).sqrt(), 0.0
    assert isinstance(norm, nn.Identity), "norms are layer, rms or none"
    return direction, 0.0


def bias_behind(norm: nn.Module, direction: Tensor) -> float:
    """What the bias of a norm gives in a direction behind it: [d_model] float64."""
    if not isinstance(norm, LayerNorm) or norm.bias is None:
        return 0.0
    return float(norm.bias.detach().double().cpu() @ direction)


def prefix_of(model: Transformer, *, of_encoder: bool = False) -> str:
    """What stands before the sites of a stack: nothing where there is one stack."""
    if not model.config.has_cross:
        return ""
    return "encoder." if of_encoder else "decoder."


def stack_name(model: Transformer) -> str:
    """The stack whose output becomes logits: decoder, or encoder where that is all."""
    return "decoder" if model.decoder is not None else "encoder"


def check_position(trace: Trace, position: int, row: int = 0, length: int | None = None) -> None:
    """Raises CutawayError for a position or row that the trace does not have. length: tokens, where they are not its ids."""
    batch, count_read = trace.ids.shape
    for name, value, count in (("position", position, length or count_read), ("row", row, batch)):
        if not 0 <= value < count:
            raise CutawayError(f"{name} is {value}. The trace has {count}: they are numbered from 0 to {count - 1}.")


def check_count(count: int) -> None:
    """Raises CutawayError for a count of words below 1."""
    if count < 1:
        raise CutawayError(f"count is {count}. Ask for 1 or more.")


def check_encoder(model: Transformer, *, of_encoder: bool) -> None:
    """Raises CutawayError where the encoder of two stacks is meant, and there is one stack."""
    if of_encoder and not model.config.has_cross:
        raise CutawayError("of_encoder is true, but this model has one stack. Leave it out.")


def check_no_masks(model: Transformer, trace: Trace) -> None:
    """Raises CutawayError for a text with masks where adapters act at them: its tokens do not share their matrices."""
    token = mask_embedding(model)
    if token is not None and bool((trace.ids == token.mask_id).any()):
        raise CutawayError(
            "The text holds masks, at which the adapters of this model act, and at no other token. What tokens share is taken "
            "apart: give a text without masks, or look at single tensors with LM.trace."
        )


def check_token(model: Transformer, token_id: int, name: str = "token_id") -> None:
    """Raises CutawayError for an id that has no logit, and for a model without any."""
    if model.head is None:
        raise CutawayError("This model has no head: it gives vectors, not tokens. Name a model that predicts tokens.")
    count = base_config(model).vocab_size  # a mask beside a base is never said
    if not 0 <= token_id < count:
        raise CutawayError(f"{name} is {token_id}. Ids run from 0 to {count - 1}.")


def _wrapped(name: str, enters: str, module: nn.Module) -> Sublayer:
    assert isinstance(module, (Pre, Post)), "sublayers are wrapped"
    attention = module.sublayer if isinstance(module.sublayer, Attention) else None
    after, around = (module.after, nn.Identity()) if isinstance(module, Pre) else (nn.Identity(), module.norm)
    return Sublayer(name=name, enters=enters, attention=attention, after=after, around=around)
