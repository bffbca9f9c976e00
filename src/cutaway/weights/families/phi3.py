"""Phi-3 (Abdin et al. 2024), as transformers writes it: Llama's shape, with fused projections."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..layout import FUSED
from ..names import Rule
from .fields import Fields
from .positions import every_layer, read_rotary, window_of
from .rotary_decoder import (
    ATTENTION,
    BLOCK,
    FEEDFORWARD,
    OUTER,
    PRE_NORMS,
    RotaryFamily,
    read_decoder,
    write_decoder,
)


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. The window is that of every layer."""
    position = read_rotary(fields, 10_000.0, is_partial=True)
    return read_decoder(fields, {"position": position, **every_layer(fields.integer_or_none("sliding_window"))})


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json; null dropouts must be said, and the context before it was stretched."""
    keys = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "original_max_position_embeddings": config.context}
    fraction = config.main.position.fraction
    return write_decoder(config, sliding_window=window_of(config.main), partial_rotary_factor=fraction, **keys)


PHI3 = RotaryFamily(
    model_type="phi3",
    title="Phi-3",
    architecture="Phi3ForCausalLM",
    read=read,
    write=write,
    names=(
        *OUTER,
        *PRE_NORMS,
        Rule(
            f"{BLOCK}.self_attn.qkv_proj.weight",
            tuple(f"{ATTENTION}.sublayer.{part}.weight" for part in ("query", "key", "value")),
            (FUSED,),
        ),
        Rule(f"{BLOCK}.self_attn.o_proj.weight", (f"{ATTENTION}.sublayer.output.weight",)),
        Rule(
            f"{BLOCK}.mlp.gate_up_proj.weight",
            tuple(f"{FEEDFORWARD}.sublayer.{part}.weight" for part in ("input", "linear")),
            (FUSED,),
        ),
        Rule(f"{BLOCK}.mlp.down_proj.weight", (f"{FEEDFORWARD}.sublayer.output.weight",)),
    ),
)
