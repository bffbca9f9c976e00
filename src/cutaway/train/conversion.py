"""A base that has no token to hide others with -> one that has. In: a model and its tokenizer. Out: both, with a mask token.

So an autoregressive model learns to say hidden tokens by going on with another objective (Gong et al. 2025; Ye et al. 2025). The
mask begins as the mean of the tokens that are there; what the model says of them, before any step, is what it said.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Transformer, begin_token
from ..text import Tokenizer


def with_mask(model: Transformer, tokenizer: Tokenizer) -> Tokenizer:
    """Give a model a mask token, in place, where it has none; returns its tokenizer, which then has it too.

    Raises CutawayError for a tokenizer with more ids than the model has.
    """
    masked, mask_id = mask_of(model.config, tokenizer)
    if model.config.tokens.mask is None and is_new(tokenizer, mask_id):
        begin_token(model, mask_id, used(tokenizer))
    model.config = replace(model.config, tokens=replace(model.config.tokens, mask=mask_id))
    return masked


def begun_row(model: Transformer, tokenizer: Tokenizer, mask_id: int) -> Tensor:
    """Where the vector of a mask beside a base begins: at its row, or at the mean of those that are used: [d_model].

    tokenizer: of the base.
    """
    table = model.token.weight.detach().float()
    has_row = model.config.tokens.mask is not None or not is_new(tokenizer, mask_id)
    return table[mask_id] if has_row else table[used(tokenizer)].mean(0)


def reading_masks(tokenizer: Tokenizer, mask_id: int) -> Tokenizer:
    """The tokenizer of a base, as that of its model with this mask; itself where its ids leave no place for it."""
    masked = tokenizer.with_mask(mask_id) if tokenizer.has_id(mask_id) else tokenizer.with_mask()
    return masked if masked.roles.mask == mask_id else tokenizer


def mask_of(config: ModelConfig, tokenizer: Tokenizer) -> tuple[Tokenizer, int]:
    """The tokenizer with a mask token, and its id: that of the config, that of the tokenizer, or a new one.

    A new one has the first id behind all others: a row that a padded vocabulary has already, or one more.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise CutawayError(
            f"The tokenizer of the base has {tokenizer.vocab_size:,} ids and the model {config.vocab_size:,}. They do not belong "
            "together: copy both from one checkpoint."
        )
    told = config.tokens.mask
    if told is not None:
        return (tokenizer if is_new(tokenizer, told) else tokenizer.with_mask(told)), told
    masked = tokenizer.with_mask()
    assert masked.roles.mask is not None, "just given"
    return masked, masked.roles.mask


def used(tokenizer: Tokenizer) -> list[int]:
    """The ids that texts or roles have used so far: those of a token that is not spare."""
    return [token_id for token_id in range(tokenizer.vocab_size) if not is_new(tokenizer, token_id)]


def is_new(tokenizer: Tokenizer, token_id: int) -> bool:
    """Whether no text and no role has used an id so far: it has no token, or a spare one."""
    return not tokenizer.has_id(token_id) or token_id in tokenizer.roles.spares
