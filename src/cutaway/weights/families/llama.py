"""Llama 2 and 3 (Touvron et al. 2023; Grattafiori et al. 2024), and what took their shape, as transformers writes them."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from .fields import Fields
from .rotary_decoder import (
    OURS_ALONE,
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
    in_heads, in_network = fields.boolean("attention_bias", False), fields.boolean("mlp_bias", False)
    return read_decoder(
        fields, {"attention": {"bias": in_heads, "output_bias": in_heads}, "feedforward": {"bias": in_network}}
    )


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    stack = config.main
    return write_decoder(config, attention_bias=stack.attention.bias, mlp_bias=stack.feedforward.bias)


LLAMA = RotaryFamily(
    model_type="llama",
    title="Llama",
    architecture="LlamaForCausalLM",
    read=read,
    write=write,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
    extras=OURS_ALONE,
)
