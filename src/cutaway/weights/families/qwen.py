"""Qwen2 and 2.5 (Yang et al. 2024), Qwen3 and its mixture of experts (Yang et al. 2025), as transformers writes them."""

from __future__ import annotations

from typing import Any

from ...config import ExpertsConfig, ModelConfig
from .fields import Fields
from .positions import FULL, SLIDING, layer_type_names, read_layer_types, window_of
from .rotary_decoder import (
    HEAD_NORMS,
    OURS_ALONE,
    OUTER,
    PRE_NORMS,
    RotaryFamily,
    experts,
    heads,
    network,
    read_decoder,
    write_decoder,
)


def read2(fields: Fields) -> dict[str, Any]:
    """config.json of Qwen2 -> knobs: biases on queries, keys and values."""
    return read_decoder(fields, {"attention": {"bias": True}, **_layer_types(fields)})


def write2(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of Qwen2."""
    return write_decoder(config, **_written_types(config))


def read3(fields: Fields) -> dict[str, Any]:
    """config.json of Qwen3 -> knobs: norms on the heads of queries and keys."""
    return read_decoder(fields, {"attention": _heads(fields), **_layer_types(fields)})


def write3(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of Qwen3."""
    return write_decoder(config, attention_bias=config.main.attention.bias, **_written_types(config))


def read3_experts(fields: Fields) -> dict[str, Any]:
    """config.json of Qwen3's mixture -> knobs. Every layer has experts, and sees everything before it."""
    fields.must_be(decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False)
    count = "num_local_experts" if "num_local_experts" in fields.data else "num_experts"
    knobs = {
        "num_experts": fields.integer(count),
        "num_active": fields.integer("num_experts_per_tok"),
        "renormalise": fields.boolean("norm_topk_prob", False),
    }
    network = {"d_hidden": fields.integer("moe_intermediate_size"), "experts": knobs}
    return read_decoder(fields, {"attention": _heads(fields), "feedforward": network})


def write3_experts(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json of Qwen3's mixture."""
    stack = config.main
    knobs = stack.feedforward.experts or ExpertsConfig(num_experts=1, num_active=1)  # without any: a misfit
    return write_decoder(
        config,
        attention_bias=stack.attention.bias,
        moe_intermediate_size=stack.feedforward.d_hidden,
        num_experts=knobs.num_experts,
        num_local_experts=knobs.num_experts,
        num_experts_per_tok=knobs.num_active,
        norm_topk_prob=knobs.renormalise,
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )


def _heads(fields: Fields) -> dict[str, Any]:
    bias = fields.boolean("attention_bias", False)
    return {"query_key_norm": "head", "bias": bias, "output_bias": bias}


def _layer_types(fields: Fields) -> dict[str, Any]:
    count = fields.integer("num_hidden_layers")
    window = fields.integer("sliding_window") if fields.boolean("use_sliding_window", False) else None
    first = count if window is None else fields.integer_or("max_window_layers", 28)
    return read_layer_types(fields, [SLIDING if layer >= first else FULL for layer in range(count)], window)


def _written_types(config: ModelConfig) -> dict[str, Any]:
    stack = config.main
    names, window = layer_type_names(stack), window_of(stack)
    return {
        "layer_types": names,
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": names.index(SLIDING) if SLIDING in names else stack.num_layers,
    }


QWEN2 = RotaryFamily(
    model_type="qwen2",
    title="Qwen2",
    architecture="Qwen2ForCausalLM",
    read=read2,
    write=write2,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
    extras=OURS_ALONE,
)

QWEN3 = RotaryFamily(
    model_type="qwen3",
    title="Qwen3",
    architecture="Qwen3ForCausalLM",
    read=read3,
    write=write3,
    names=(*OUTER, *PRE_NORMS, *heads(), *HEAD_NORMS, *network()),
    extras=OURS_ALONE,
)

QWEN3_MOE = RotaryFamily(
    model_type="qwen3_moe",
    title="Qwen3-MoE",
    architecture="Qwen3MoeForCausalLM",
    read=read3_experts,
    write=write3_experts,
    names=(
        *OUTER,
        *PRE_NORMS,
        *heads(),
        *HEAD_NORMS,
        *experts("mlp", gate="gate_proj", up="up_proj", down="down_proj"),
    ),
    extras=OURS_ALONE,
)
