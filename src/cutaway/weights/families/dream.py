"""Dream (Ye et al. 2025), as its makers write it: Qwen2's shape, trained to fill in masks one place earlier, seeing all."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from .fields import Fields
from .rotary_decoder import (
    OUTER,
    PRE_NORMS,
    RotaryFamily,
    heads,
    network,
    read_decoder,
    write_decoder,
)


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    fields.must_be(use_sliding_window=False)
    mask = fields.token_id("mask_token_id", fields.integer("vocab_size"))
    return read_decoder(fields, {"attention": {"bias": True}}, predicts="masked_next", tokens={"mask": mask})


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    return write_decoder(config, use_sliding_window=False, sliding_window=None, mask_token_id=config.tokens.mask)


DREAM = RotaryFamily(
    model_type="Dream",
    title="Dream",
    architecture="DreamModel",
    read=read,
    write=write,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
)
