"""Checkpoints for tests. In: a directory. Out: a small checkpoint in it, of the GPT-2 family or of a config that none holds."""

from __future__ import annotations

from pathlib import Path

from cutaway.config import (
    AttentionConfig,
    ExpertsConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    RotaryScaling,
    TokenIds,
)
from cutaway.weights import checkpoint
from tests import tiny


def saved(directory: Path, config: ModelConfig | None = None) -> Path:
    """A small checkpoint."""
    path = directory / "m"
    checkpoint.save(path, tiny.model(config or tiny.config(is_tied=True)))
    return path


def wild() -> ModelConfig:
    """Two stacks, and every knob that another family would have to know."""
    turned = PositionConfig(
        kind="rotary", fraction=0.67, scaling=RotaryScaling(kind="yarn", factor=4.0, original_context=16)
    )
    kinds = {"near_by": LayerType(window=3), "far": LayerType(position=PositionConfig(kind="alibi"))}
    experts = FeedForwardConfig(
        d_hidden=11, is_gated=True, activation="silu", experts=ExpertsConfig(num_experts=3, num_active=2)
    )
    heads = AttentionConfig(num_heads=6, num_kv_heads=3, d_head=6, query_key_norm="head", sinks=1, softcap=9.0)
    rms = NormConfig(kind="rms", offset=1.0)
    decoder = tiny.stack(
        num_layers=5,
        num_shared=3,
        attention=heads,
        feedforward=experts,
        norm=rms,
        placement="sandwich",
        position=turned,
        layer_types=kinds,
        pattern=("near_by", "far"),
    )
    encoder = tiny.stack(position=PositionConfig(kind="relative", bidirectional=True), placement="post")
    return tiny.config(
        encoder=encoder, decoder=decoder, head_bias=True, logit_scale=0.5, tokens=TokenIds(pad=1, mask=2)
    )
