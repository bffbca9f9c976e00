"""A base that has no token to hide others with -> one that has. In: a model and its tokenizer. Out: both, with a mask token.

So an autoregressive model learns to say hidden tokens by going on with another objective (Gong et al. 2025; Ye et al. 2025). The mask
begins as the mean of the tokens that are there; what the model says of them, before any step, is what it said.
"""

from __future__ import annotations

from dataclasses import replace

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Transformer, begin_token
from ..text import Tokenizer


def with_mask(model: Transformer, tokenizer: Tokenizer) -> Tokenizer:
    """Give a model a mask token, in place, where it has none; returns its tokenizer, which then has it too.

    Raises CutawayError for a tokenizer with more ids than the model has.
    """
    masked, mask_id = mask_of(model.config, tokenizer)
    if is_new(tokenizer, mask_id):
        begin_token(model, mask_id, [i for i in range(tokenizer.vocab_size) if not is_new(tokenizer, i)])
    model.config = replace(model.config, tokens=replace(model.config.tokens, mask=mask_id))
    return masked


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


def is_new(tokenizer: Tokenizer, token_id: int) -> bool:
    """Whether no text and no role has used an id so far: it has no token, or a spare one."""
    return not tokenizer.has_id(token_id) or token_id in tokenizer.roles.spares
