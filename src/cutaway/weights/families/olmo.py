"""OLMo 2 (OLMo Team 2024) and OLMo 3 (2025), as transformers writes them: norms after each sublayer, and on queries and keys."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from .fields import Fields
from .positions import FULL, SLIDING, layer_type_names, read_layer_types, read_rotary, window_of, write_rotaries
from .rotary_decoder import (
    FULL_NORMS,
    INNER_NORMS,
    OUTER,
    RotaryFamily,
    heads,
    network,
    read_decoder,
    write_decoder,
)


def read2(fields: Fields) -> dict[str, Any]:
    """config.json of OLMo 2 -> knobs."""
    return read_decoder(fields, _stack(fields))


def write2(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of OLMo 2."""
    return write_decoder(config, attention_bias=config.main.attention.bias)


def read3(fields: Fields) -> dict[str, Any]:
    """config.json of OLMo 3 -> knobs: three layers slide, the fourth sees everything and may be stretched."""
    usual = [SLIDING if (layer + 1) % 4 else FULL for layer in range(fields.integer("num_hidden_layers"))]
    far = read_rotary(fields, 500_000.0, FULL)
    near = read_rotary(fields, 500_000.0, SLIDING) if "rope_parameters" in fields.data else {**far, "scaling": None}
    knobs = {} if near == far else {"position": near}
    layer_types = read_layer_types(fields, usual, fields.integer_or_none("sliding_window"), **knobs)
    return read_decoder(fields, {**_stack(fields), "position": far, **layer_types})


def write3(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of OLMo 3."""
    stack = config.main
    kinds = {"sliding_window": window_of(stack), "layer_types": layer_type_names(stack)}
    return write_decoder(config, attention_bias=stack.attention.bias, **kinds, **write_rotaries(stack))


def _stack(fields: Fields) -> dict[str, Any]:
    bias = fields.boolean("attention_bias", False)
    return {"placement": "inner", "attention": {"query_key_norm": "full", "bias": bias, "output_bias": bias}}


OLMO2 = RotaryFamily(
    model_type="olmo2",
    title="OLMo 2",
    architecture="Olmo2ForCausalLM",
    read=read2,
    write=write2,
    names=(*OUTER, *INNER_NORMS, *heads(), *FULL_NORMS, *network()),
)

OLMO3 = RotaryFamily(
    model_type="olmo3",
    title="OLMo 3",
    architecture="Olmo3ForCausalLM",
    read=read3,
    write=write3,
    names=(*OUTER, *INNER_NORMS, *heads(), *FULL_NORMS, *network()),
)
