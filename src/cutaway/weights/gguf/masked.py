"""The decoders that fill in masks, in GGUF files: LLaDA and Dream. In: nothing. Out: their tables (see architectures).

Both see all positions, which llama.cpp knows by the name. Whether a mask is filled in by the logits at its own place (LLaDA) or
by those one place earlier (Dream) is a key: `diffusion.shift_logits`.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ...errors import CutawayError
from ..names import Rule, affine
from .architecture import (
    BLOCK,
    EMBEDDING,
    HEAD,
    KEYS,
    PRE_NORMS,
    Architecture,
    block_rules,
    head_rules,
    network_rules,
)
from .layouts import PairedRows
from .source import Source

SHIFT = "diffusion.shift_logits"
SEES_ALL = {"attention.causal": False}


def _check_shift(source: Source, *, shifts: bool) -> None:
    said = source.metadata.get(SHIFT, shifts)
    if said is not shifts:
        raise CutawayError(
            f"{source.place}: the key {SHIFT} is {said!r}. Models of the architecture '{source.name}' are read where it is "
            f"{shifts}: take the file from its maker again."
        )


def _llada_read(source: Source) -> dict[str, Any]:
    _check_shift(source, shifts=False)
    width = source.integer("embedding_length") // source.integer("attention.head_count")
    if source.get("rope.scaling.type") not in (None, "none"):
        raise source.fault("rope.scaling.type", "none only, in this architecture")
    if source.get("rope.dimension_count") not in (None, width):
        raise source.fault("rope.dimension_count", f"{width} only, as wide as a head")
    return {"weight_tying": HEAD not in source.shapes}


def _dream_read(source: Source) -> dict[str, Any]:
    _check_shift(source, shifts=True)
    return {}


def _llada_names(config: ModelConfig) -> tuple[Rule, ...]:
    layer, knobs = "model.transformer.blocks.{layer}", config.main.attention
    pairs = (
        ("attn_output", "attn_out"),
        ("ffn_gate", "ff_proj"),
        ("ffn_up", "up_proj"),
        ("ffn_down", "ff_out"),
        ("attn_v", "v_proj"),
    )
    rules = (affine(f"{BLOCK}.{theirs}", f"{layer}.{ours}") for theirs, ours in pairs)
    return (
        Rule(EMBEDDING, ("model.transformer.wte.weight",)),
        Rule("output_norm.weight", ("model.transformer.ln_f.weight",)),
        Rule(HEAD, ("model.transformer.ff_out.weight",)),
        Rule(f"{BLOCK}.attn_norm.weight", (f"{layer}.attn_norm.weight",)),
        Rule(f"{BLOCK}.ffn_norm.weight", (f"{layer}.ff_norm.weight",)),
        *affine(f"{BLOCK}.attn_q", f"{layer}.q_proj", layout=(PairedRows(knobs.num_heads),)),
        *affine(f"{BLOCK}.attn_k", f"{layer}.k_proj", layout=(PairedRows(knobs.kv_heads),)),
        *(rule for pair in rules for rule in pair),
    )


LLADA = Architecture(
    name="llada",
    model_type="llada",
    keys={
        "context_length": "max_sequence_length",
        "embedding_length": "d_model",
        "block_count": "n_layers",
        "feed_forward_length": "mlp_hidden_size",
        "attention.head_count": "n_heads",
        "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    },
    optional={"attention.head_count_kv": "n_kv_heads"},
    names=_llada_names,
    # llama.cpp loads other biases, and adds none of them.
    fixed={"activation_type": "silu", "include_bias": False},
    present={"include_qkv_bias": "blk.0.attn_q.bias"},
    read=_llada_read,
    write=lambda _: SEES_ALL,
    whole=lambda _: {SHIFT: False},
)
DREAM = Architecture(
    name="dream",
    model_type="Dream",
    keys=KEYS,
    optional={"attention.head_count_kv": "num_key_value_heads"},
    names=lambda config: (*block_rules(PRE_NORMS), *head_rules(config), *network_rules()),
    fixed={"hidden_act": "silu", "use_sliding_window": False},
    read=_dream_read,
    write=lambda _: SEES_ALL,
    whole=lambda _: {SHIFT: True},
)
