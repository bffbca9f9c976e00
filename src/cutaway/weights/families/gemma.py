"""Gemma 1, 2 and 3 (Gemma Team 2024, 2024, 2025), the text models, as transformers writes them.

Token embeddings are scaled by √d_model, norms add 1 to their scale; 2 and 3 have norms before and after each sublayer.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from .fields import Fields
from .positions import (
    FULL,
    SLIDING,
    layer_type_names,
    read_layer_types,
    read_rotary,
    window_of,
    write_rotaries,
)
from .rotary_decoder import (
    HEAD_NORMS,
    OUTER,
    PRE_NORMS,
    SANDWICH_NORMS,
    RotaryFamily,
    heads,
    network,
    read_decoder,
    write_decoder,
)

LOCAL_EVERY, LOCAL_BASE, GLOBAL_BASE = 6, 10_000.0, 1_000_000.0  # of Gemma 3: the sixth layer sees everything


def read1(fields: Fields) -> dict[str, Any]:
    """config.json of the first Gemma -> knobs."""
    return _read(fields, {})


def write1(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of the first Gemma."""
    return _write(config)


def read2(fields: Fields) -> dict[str, Any]:
    """config.json of Gemma 2 -> knobs: every other layer slides, scores and logits are capped."""
    usual = [FULL if layer % 2 else SLIDING for layer in range(fields.integer("num_hidden_layers"))]
    layer_types = read_layer_types(fields, usual, fields.integer_or_none("sliding_window"))
    return _read(fields, {"placement": "sandwich", "attention": _heads(fields), **layer_types}, **_cap(fields))


def write2(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of Gemma 2."""
    return _write(config, **_written_heads(config))


def read3(fields: Fields) -> dict[str, Any]:
    """config.json of Gemma 3 -> knobs: layers that slide turn by other angles; queries and keys have norms."""
    fields.must_be(use_bidirectional_attention=False)
    every = fields.integer_or("sliding_window_pattern", LOCAL_EVERY)
    usual = [SLIDING if (layer + 1) % every else FULL for layer in range(fields.integer("num_hidden_layers"))]
    local_base = fields.number("rope_local_base_freq", LOCAL_BASE)
    far, near = read_rotary(fields, GLOBAL_BASE, FULL), _local(fields, local_base)
    knobs = {} if near == far else {"position": near}
    layer_types = read_layer_types(fields, usual, fields.integer_or_none("sliding_window"), **knobs)
    attention = {**_heads(fields), "query_key_norm": "head"}
    return _read(
        fields, {"placement": "sandwich", "attention": attention, "position": far, **layer_types}, **_cap(fields)
    )


def write3(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of Gemma 3."""
    return _write(config, **_written_heads(config), **write_rotaries(config.main))


def _local(fields: Fields, base: float) -> dict[str, Any]:
    if "rope_parameters" in fields.data:
        return read_rotary(fields, base, SLIDING)
    return read_rotary(Fields({"rope_theta": base}, fields.where), base)  # the old style scales the others only


def _read(fields: Fields, decoder: dict[str, Any], **knobs: Any) -> dict[str, Any]:
    bias = fields.boolean("attention_bias", False)
    attention = {"bias": bias, "output_bias": bias, **decoder.get("attention", {})}
    activation = {"activation": fields.activation("hidden_activation", "gelu_pytorch_tanh")}
    stack = {**decoder, "attention": attention, "feedforward": activation, "norm": {"offset": 1.0}}
    scale = fields.integer("hidden_size") ** 0.5
    return read_decoder(fields, stack, is_tied=True, embedding_scale=scale, **knobs)


def _heads(fields: Fields) -> dict[str, Any]:
    divisor, d_head = fields.number("query_pre_attn_scalar", 256), fields.integer("head_dim")
    return {
        "scale": None if divisor == d_head else divisor**-0.5,
        "softcap": fields.number_or_none("attn_logit_softcapping"),
    }


def _cap(fields: Fields) -> dict[str, Any]:
    return {"logit_softcap": fields.number_or_none("final_logit_softcapping")}


def _write(config: ModelConfig, **keys: Any) -> dict[str, Any]:
    written = write_decoder(config, attention_bias=config.main.attention.bias, **keys)
    return {**written, "hidden_activation": written["hidden_act"]}


def _written_heads(config: ModelConfig) -> dict[str, Any]:
    stack = config.main
    scale = stack.attention.scale
    return {
        "query_pre_attn_scalar": stack.d_head if scale is None else round(scale**-2),
        "attn_logit_softcapping": stack.attention.softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": window_of(stack),
        "layer_types": layer_type_names(stack),
    }


GEMMA = RotaryFamily(
    model_type="gemma",
    title="Gemma",
    architecture="GemmaForCausalLM",
    read=read1,
    write=write1,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
)

GEMMA2 = RotaryFamily(
    model_type="gemma2",
    title="Gemma 2",
    architecture="Gemma2ForCausalLM",
    read=read2,
    write=write2,
    names=(*OUTER, *SANDWICH_NORMS, *heads(), *network()),
)

GEMMA3 = RotaryFamily(
    model_type="gemma3_text",
    title="Gemma 3",
    architecture="Gemma3ForCausalLM",
    read=read3,
    write=write3,
    names=(*OUTER, *SANDWICH_NORMS, *heads(), *HEAD_NORMS, *network()),
)
