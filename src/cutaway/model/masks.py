"""A model that tells masks from other tokens, so that what changes it acts at masks alone. In: a model. Out: the same, opened.

The mask is a token beside the base: its vector is no row of the base's table, and where the base has no such id, it has no
probability. Once a pass, the gate `masks` says where the ids are masks; a pass without any has no gate, and is the base's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..config import ModelConfig, Prediction
from ..errors import CutawayError
from .call import Call
from .embedding import TokenEmbedding
from .head import Unsaid
from .transformer import Transformer

MASKS = "masks"
"""The gate of `Call.gates` that is open at masks: [batch, position] of bool."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What a model with an adapter at masks is, and its base is not."""

    mask_id: int
    predicts: Prediction
    block_size: int

    def __post_init__(self) -> None:
        """Raises CutawayError for what no base can become."""
        if self.predicts not in ("hybrid", "hybrid_next"):
            raise CutawayError(
                f"predicts is '{self.predicts}'. At masks a base learns to draft: 'hybrid' or 'hybrid_next'."
            )
        for name, value, least in (("mask_id", self.mask_id, 0), ("block_size", self.block_size, 1)):
            if value < least:
                raise CutawayError(f"{name} is {value}. It must be {least} or more.")

    def applied(self, base: ModelConfig) -> ModelConfig:
        """The config of the model with its adapter. Raises CutawayError for a base that it is not for."""
        if not base.says_next or base.has_cross or self.mask_id > base.vocab_size:
            raise CutawayError(
                f"Adapters at the mask {self.mask_id} are for a decoder that predicts the next token, and has at least so many "
                f"ids. This one predicts '{base.predicts}', and has {base.vocab_size}. Open the model that they are for."
            )
        return replace(
            base,
            vocab_size=max(base.vocab_size, self.mask_id + 1),
            predicts=self.predicts,
            block_size=self.block_size,
            tokens=replace(base.tokens, mask=self.mask_id),
        )


class MaskEmbedding(nn.Module):
    """The token embedding of a base, and the vector of the mask beside it. before: the base's config."""

    def __init__(self, base: TokenEmbedding, before: ModelConfig, mask_id: int) -> None:
        super().__init__()
        self.base, self.before, self.mask_id, self.scale = base, before, mask_id, base.scale
        weight = base.weight
        self.row = nn.Parameter(torch.zeros_like(weight[0], dtype=torch.promote_types(weight.dtype, torch.float32)))
        # One table for whoever looks up any id; the base's weight becomes its beginning, so that nothing is held twice.
        table = torch.cat([weight.detach(), weight.new_zeros(1, weight.shape[1])]) if mask_id == len(weight) else None
        self.table: Tensor | None
        self.register_buffer("table", table, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The base's table; where the mask has no row there, with the mask's behind it: [vocab, d_model]."""
        if self.table is None:
            return self.base.weight
        self.table.data[self.mask_id].copy_(self.row.data)  # what trains is the row
        return self.table

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [batch, position] -> [batch, position, d_model]."""
        is_mask = ids == self.mask_id
        vectors: Tensor = self.base(ids.masked_fill(is_mask, 0))  # any row: it is not what is looked at
        return torch.where(is_mask.unsqueeze(-1), (self.row * self.scale).to(vectors.dtype), vectors)

    def gated(self, ids: Tensor, call: Call) -> Call:
        """The call of a pass over these ids, which says where masks are, if there are any."""
        is_mask = ids == self.mask_id
        return replace(call, gates={**call.gates, MASKS: is_mask}) if bool(is_mask.any()) else call


def open_masks(model: Transformer, masks: Masks) -> MaskEmbedding:
    """Let a decoder tell masks from other tokens, in place. Raises CutawayError, and leaves it as it was, for what cannot be."""
    assert mask_embedding(model) is None, "opened once"
    config = masks.applied(model.config)
    token = MaskEmbedding(model.token, model.config, masks.mask_id)
    if token.table is not None:
        _put_table(model, token.base, token.table[: masks.mask_id])
    if model.head is not None and config.vocab_size > model.config.vocab_size:
        model.head.unsaid = Unsaid(config.vocab_size - model.config.vocab_size)
    model.config = config
    _put_token(model, token)
    return token


def close_masks(model: Transformer) -> None:
    """Take away what `open_masks` brought: the base, bit for bit."""
    token = mask_embedding(model)
    if token is None:
        return
    _put_token(model, token.base)
    model.config = token.before
    if model.head is not None:
        model.head.unsaid = nn.Identity()


def mask_embedding(model: Transformer) -> MaskEmbedding | None:
    """The embedding of a model that tells masks from other tokens; None of any other."""
    token: nn.Module = model.token
    return token if isinstance(token, MaskEmbedding) else None


def masks_of(model: Transformer) -> Masks | None:
    """What the adapters of a model at masks bring beside their numbers; None of any other model."""
    token, config = mask_embedding(model), model.config
    if token is None:
        return None
    assert config.block_size is not None, "a hybrid has one"
    return Masks(mask_id=token.mask_id, predicts=config.predicts, block_size=config.block_size)


def base_config(model: Transformer) -> ModelConfig:
    """The config of the base, or of the model itself."""
    token = mask_embedding(model)
    return model.config if token is None else token.before


def _put_table(model: Transformer, base: TokenEmbedding, rows: Tensor) -> None:
    """The same numbers in another place; what was tied stays tied."""
    projection = None if model.head is None else model.head.projection
    is_tied = projection is not None and projection.weight is base.weight
    base.weight = nn.Parameter(rows, requires_grad=base.weight.requires_grad)
    if projection is not None and is_tied:
        projection.weight = base.weight


def _put_token(model: Transformer, token: nn.Module) -> None:
    for owner in (model, model.main.embedding):
        setattr(owner, "token", token)  # noqa: B010 (a replacement, as of projections)
