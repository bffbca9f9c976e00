"""Mistral (Jiang et al. 2023) and Mixtral (Jiang et al. 2024): Llama's shape with a window, and with experts."""

from __future__ import annotations

from typing import Any

from ...config import ExpertsConfig, ModelConfig
from .fields import Fields
from .positions import every_layer, window_of
from .rotary_decoder import (
    OUTER,
    PRE_NORMS,
    RotaryFamily,
    experts,
    heads,
    network,
    read_decoder,
    write_decoder,
)


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. The window is that of every layer."""
    return read_decoder(fields, every_layer(fields.integer_or_none("sliding_window")))


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    return write_decoder(config, sliding_window=window_of(config.main))


def read_experts(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs, of the one with experts."""
    knobs = {"num_experts": fields.integer("num_local_experts"), "num_active": fields.integer("num_experts_per_tok")}
    windows = every_layer(fields.integer_or_none("sliding_window"))
    return read_decoder(fields, {"feedforward": {"experts": knobs}, **windows}, base=1_000_000.0)


def write_experts(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json, of the one with experts."""
    knobs = config.main.feedforward.experts or ExpertsConfig(num_experts=1, num_active=1)  # without any: a misfit
    counts = {"num_local_experts": knobs.num_experts, "num_experts_per_tok": knobs.num_active}
    return write_decoder(config, sliding_window=window_of(config.main), **counts)


MISTRAL = RotaryFamily(
    model_type="mistral",
    title="Mistral",
    architecture="MistralForCausalLM",
    read=read,
    write=write,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
)

MIXTRAL = RotaryFamily(
    model_type="mixtral",
    title="Mixtral",
    architecture="MixtralForCausalLM",
    read=read_experts,
    write=write_experts,
    names=(*OUTER, *PRE_NORMS, *heads(), *experts("block_sparse_moe", gate="w1", up="w3", down="w2")),
)
