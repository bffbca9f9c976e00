"""Whose tensor and key is called what. In: the metadata of a file, or a config. Out: the table of its architecture.

Names, layouts and what an architecture fixes follow llama.cpp's conversion/*.py and src/models/*.cpp. To add one: a table here,
and its name in ARCHITECTURES.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...config import ModelConfig
from ...errors import CutawayError
from ..families.positions import FULL, SLIDING, layer_type_names, near_position, window_of
from ..layout import TRANSPOSED
from ..names import Rule, affine
from .architecture import (
    BLOCK,
    EMBEDDING,
    HEAD,
    HEAD_NORMS,
    HEADS,
    INNER_NORMS,
    KEYS,
    LAYER,
    PRE_NORMS,
    ROUTERS,
    SANDWICH_NORMS,
    SIZES,
    Architecture,
    block_rules,
    expert_rules,
    head_rules,
    network_rules,
)
from .encoder_decoders import T5
from .encoders import BERT
from .layouts import PartsTogether
from .masked import DREAM, LLADA
from .rope import FACTORS
from .source import Source

EXPERTS = {"expert_used_count": "num_experts_per_tok"}
PLAIN_HEADS = {"attention_bias": False, "hidden_act": "silu"}
GELU = {"hidden_act": "gelu_new", "hidden_activation": "gelu_new", "attention_bias": False}


def _gpt2_names(_: ModelConfig) -> tuple[Rule, ...]:
    layer = "transformer.h.{layer}"
    turned = (
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    )
    matrices = (affine(f"{BLOCK}.{theirs}", f"{layer}.{ours}", layout=(TRANSPOSED,)) for theirs, ours in turned)
    return (
        Rule(EMBEDDING, ("transformer.wte.weight",)),
        Rule("position_embd.weight", ("transformer.wpe.weight",)),
        *affine(f"{BLOCK}.attn_norm", f"{layer}.ln_1"),
        *affine(f"{BLOCK}.ffn_norm", f"{layer}.ln_2"),
        *(rule for pair in matrices for rule in pair),
        *affine("output_norm", "transformer.ln_f"),
        Rule(HEAD, ("lm_head.weight",)),
    )


def _neox_names(config: ModelConfig) -> tuple[Rule, ...]:
    layer = "gpt_neox.layers.{layer}"
    pairs = (
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_output", "attention.dense"),
        ("ffn_up", "mlp.dense_h_to_4h"),
        ("ffn_down", "mlp.dense_4h_to_h"),
    )
    rules = (affine(f"{BLOCK}.{theirs}", f"{layer}.{ours}") for theirs, ours in pairs)
    together = (PartsTogether(config.main.attention.num_heads),)
    return (
        Rule(EMBEDDING, ("gpt_neox.embed_in.weight",)),
        *affine(f"{BLOCK}.attn_qkv", f"{layer}.attention.query_key_value", layout=together),
        *(rule for pair in rules for rule in pair),
        *affine("output_norm", "gpt_neox.final_layer_norm"),
        Rule(HEAD, ("embed_out.weight",)),
    )


def _phi3_names(_: ModelConfig) -> tuple[Rule, ...]:
    pairs = {
        "attn_qkv": "self_attn.qkv_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_up": "mlp.gate_up_proj",
        "ffn_down": "mlp.down_proj",
    }
    matrices = (Rule(f"{BLOCK}.{theirs}.weight", (f"{LAYER}.{ours}.weight",)) for theirs, ours in pairs.items())
    return (*block_rules(PRE_NORMS), *matrices)


def _phi3_read(source: Source) -> dict[str, Any]:
    return {"sliding_window": source.get("attention.sliding_window") or None}  # 0 says none


def _phi3_write(config: ModelConfig) -> dict[str, Any]:
    window = window_of(config.main) or 0
    if 0 < window < config.context:
        raise CutawayError(
            f"llama.cpp's phi3 has no windows, and this model's layers see {window} of {config.context} positions. Another "
            "program would compute something else: save it as a checkpoint directory."
        )
    return {"attention.sliding_window": window}


def _windows_read(source: Source, period: int) -> dict[str, Any]:
    """Which layers slide: as a list says it, or all but the last of each period."""
    count, window = source.integer("block_count"), source.get("attention.sliding_window")
    pattern = source.metadata.get(f"{source.name}.attention.sliding_window_pattern")
    if isinstance(pattern, list | np.ndarray) and len(pattern) == count:
        slides = [bool(flag) for flag in pattern]
    else:
        period = source.get("attention.sliding_window_pattern") or period
        if type(period) is not int or period < 1:
            raise source.fault(
                "attention.sliding_window_pattern", "a whole number above 0, or a list of one for each layer"
            )
        slides = [layer % period < period - 1 for layer in range(count)]
    return {
        "sliding_window": window or None,
        "layer_types": [SLIDING if slide and window else FULL for slide in slides],
    }


def _windows_write(config: ModelConfig, period: int) -> dict[str, Any]:
    slides = [name == SLIDING for name in layer_type_names(config.main)]
    usual = [layer % period < period - 1 for layer in range(len(slides))]
    keys = {"attention.sliding_window": window_of(config.main) or 0}
    return keys if slides == usual or not any(slides) else {**keys, "attention.sliding_window_pattern": slides}


def _scale(source: Source, layers: int) -> dict[str, Any]:
    """Scores are divided by the root of a head's width; in the model with so many layers, of d_model / heads."""
    by_heads = source.integer("embedding_length") // source.integer("attention.head_count")
    width = source.get("attention.key_length") or by_heads
    return {"query_pre_attn_scalar": by_heads if source.get("block_count") == layers else width, "head_dim": width}


def _gemma2_read(source: Source) -> dict[str, Any]:
    return {
        "attn_logit_softcapping": source.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": source.number("final_logit_softcapping", 30.0),
        **_windows_read(source, 2),
        **_scale(source, 46),
    }


def _gemma2_write(config: ModelConfig) -> dict[str, Any]:
    return {
        "attn_logit_softcapping": config.main.attention.softcap,
        "final_logit_softcapping": config.logit_softcap,
        **_windows_write(config, 2),
    }


def _gemma3_read(source: Source) -> dict[str, Any]:
    return {
        "final_logit_softcapping": source.number("final_logit_softcapping", 0.0) or None,
        "rope_local_base_freq": source.number("rope.freq_base_swa", 10_000.0),
        **_windows_read(source, 6),
        **_scale(source, 62),
    }


def _gemma3_write(config: ModelConfig) -> dict[str, Any]:
    keys = {"final_logit_softcapping": config.logit_softcap, "rope.freq_base_swa": near_position(config.main).base}
    return {**keys, **_windows_write(config, 6)}


GPT2 = Architecture(
    name="gpt2",
    model_type="gpt2",
    keys={
        "context_length": "n_positions",
        "embedding_length": "n_embd",
        "block_count": "n_layer",
        "feed_forward_length": "n_inner",
        "attention.head_count": "n_head",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    names=_gpt2_names,
    fixed={"activation_function": "gelu_new", "scale_attn_weights": True},
    rotary=False,
    plain=(r"position_embd\.weight",),
    ignored=(r"blk\.\d+\.attn\.(bias|masked_bias)",),
)
LLAMA = Architecture(
    name="llama",
    model_type="llama",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules(PRE_NORMS), *head_rules(config, are_paired=True), *network_rules()),
    fixed={"hidden_act": "silu"},
    present={"attention_bias": "blk.0.attn_output.bias", "mlp_bias": "blk.0.ffn_down.bias"},
    factors=True,
    ignored=(FACTORS.replace(".", r"\."),),
)
MIXTRAL = Architecture(
    name="llama",
    model_type="mixtral",
    keys={**KEYS, **EXPERTS, "expert_count": "num_local_experts"},
    optional=HEADS,
    names=lambda config: (
        *block_rules(PRE_NORMS),
        *head_rules(config, are_paired=True),
        *expert_rules("block_sparse_moe", gate="w1", up="w3", down="w2"),
    ),
    fixed={"hidden_act": "silu", "sliding_window": None},
    plain=(ROUTERS,),
    is_mixture=True,
)
SMOLLM3 = Architecture(
    name="smollm3",
    model_type="smollm3",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules(PRE_NORMS), *head_rules(config, are_paired=True), *network_rules()),
    fixed={**PLAIN_HEADS, "mlp_bias": False, "no_rope_layer_interval": 4, "use_sliding_window": False},
)
QWEN2 = Architecture(
    name="qwen2",
    model_type="qwen2",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules(PRE_NORMS), *head_rules(config), *network_rules()),
    fixed={"hidden_act": "silu", "use_sliding_window": False},
)
QWEN3 = Architecture(
    name="qwen3",
    model_type="qwen3",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules({**PRE_NORMS, **HEAD_NORMS}), *head_rules(config), *network_rules()),
    fixed={**PLAIN_HEADS, "use_sliding_window": False},
)
QWEN3_MOE = Architecture(
    name="qwen3moe",
    model_type="qwen3_moe",
    keys={
        **{key: ours for key, ours in KEYS.items() if key != "feed_forward_length"},
        **EXPERTS,
        "expert_count": "num_experts",
        "expert_feed_forward_length": "moe_intermediate_size",
    },
    optional={**HEADS, "feed_forward_length": "intermediate_size"},
    names=lambda config: (
        *block_rules({**PRE_NORMS, **HEAD_NORMS}),
        *head_rules(config),
        *expert_rules("mlp", gate="gate_proj", up="up_proj", down="down_proj"),
    ),
    fixed={**PLAIN_HEADS, "norm_topk_prob": True, "intermediate_size": 1},
    plain=(ROUTERS,),
    is_mixture=True,
)
GEMMA = Architecture(
    name="gemma",
    model_type="gemma",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules(PRE_NORMS, adds_one=True), *head_rules(config), *network_rules()),
    fixed={**GELU, "tie_word_embeddings": True},
)
GEMMA2 = Architecture(
    name="gemma2",
    model_type="gemma2",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules(SANDWICH_NORMS, adds_one=True), *head_rules(config), *network_rules()),
    fixed={**GELU, "tie_word_embeddings": True},
    read=_gemma2_read,
    write=_gemma2_write,
)
GEMMA3 = Architecture(
    name="gemma3",
    model_type="gemma3_text",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (
        *block_rules({**SANDWICH_NORMS, **HEAD_NORMS}, adds_one=True),
        *head_rules(config),
        *network_rules(),
    ),
    fixed=GELU,
    read=_gemma3_read,
    write=_gemma3_write,
)
PHI3 = Architecture(
    name="phi3",
    model_type="phi3",
    keys=KEYS,
    optional=HEADS,
    names=_phi3_names,
    fixed={"hidden_act": "silu"},
    read=_phi3_read,
    write=_phi3_write,
)
OLMO2 = Architecture(
    name="olmo2",
    model_type="olmo2",
    keys=KEYS,
    optional=HEADS,
    names=lambda config: (*block_rules({**INNER_NORMS, **HEAD_NORMS}), *head_rules(config), *network_rules()),
    fixed={**PLAIN_HEADS, "tie_word_embeddings": False},
)
# Layers that slide have the same base there, and are never stretched; so reads the family where one table is for both.
OLMO3 = replace(
    OLMO2,
    model_type="olmo3",
    read=lambda source: _windows_read(source, 4),
    write=lambda config: _windows_write(config, 4),
    has_windows=True,
)
GPT_NEOX = Architecture(
    name="gptneox",
    model_type="gpt_neox",
    keys={**SIZES, "attention.layer_norm_epsilon": "layer_norm_eps", "use_parallel_residual": "use_parallel_residual"},
    names=_neox_names,
    fixed={"hidden_act": "gelu", "attention_bias": True, "tie_word_embeddings": False},
)

ARCHITECTURES = (
    GPT2,
    LLAMA,
    MIXTRAL,
    SMOLLM3,
    QWEN2,
    QWEN3,
    QWEN3_MOE,
    GEMMA,
    GEMMA2,
    GEMMA3,
    PHI3,
    OLMO2,
    OLMO3,
    GPT_NEOX,
    LLADA,
    DREAM,
    BERT,
    T5,
)
