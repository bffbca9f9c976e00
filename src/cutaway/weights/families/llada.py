"""LLaDA (Nie et al. 2025), as its makers write it: Llama's shape under other names, trained to fill in masks, seeing all."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..names import Rule, affine
from .family import Family
from .fields import NAMED, Fields

LAYER, BLOCK = "decoder.layers.{layer}", "model.transformer.blocks.{layer}"
ATTENTION, FEEDFORWARD = f"{LAYER}.attention", f"{LAYER}.feedforward"
FIXED = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "input_emb_norm": False,
    "attention_layer_norm": False,
    "scale_logits": False,
    "multi_query_attention": None,
    "bias_for_layer_norm": False,
}


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    fields.must_be(**FIXED)
    vocab_size, num_heads = fields.integer("vocab_size"), fields.integer("n_heads")
    num_kv_heads, bias = fields.integer_or("n_kv_heads", num_heads), fields.boolean("include_bias", False)
    d_model = fields.integer("d_model")
    return {
        "vocab_size": fields.integer_or("embedding_size", vocab_size),
        "context": fields.integer("max_sequence_length"),
        "decoder": {
            "num_layers": fields.integer("n_layers"),
            "d_model": d_model,
            "attention": {
                "num_heads": num_heads,
                "num_kv_heads": None if num_kv_heads == num_heads else num_kv_heads,
                "bias": bias or fields.boolean("include_qkv_bias", False),
                "output_bias": bias,
            },
            "feedforward": {
                "d_hidden": fields.integer_or("mlp_hidden_size", fields.integer_or("mlp_ratio", 4) * d_model),
                "activation": fields.activation("activation_type", "silu"),
                "is_gated": True,
                "bias": bias,
            },
            "norm": {"kind": "rms", "eps": fields.number("rms_norm_eps", 1e-5)},
            "position": {"kind": "rotary", "base": fields.number("rope_theta", 10_000.0)},
        },
        "is_tied": fields.boolean("weight_tying", False),
        "predicts": "masked",
        "tokens": {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad", "mask")},
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    stack = config.main
    return {
        **FIXED,
        "vocab_size": config.vocab_size,
        "embedding_size": config.vocab_size,
        "max_sequence_length": config.context,
        "d_model": stack.d_model,
        "n_layers": stack.num_layers,
        "n_heads": stack.attention.num_heads,
        "n_kv_heads": stack.attention.kv_heads,
        "mlp_hidden_size": stack.feedforward.d_hidden,
        "activation_type": NAMED[stack.feedforward.activation],
        "include_bias": stack.feedforward.bias,
        "include_qkv_bias": stack.attention.bias,
        "layer_norm_with_affine": True,
        "rms_norm_eps": stack.norm.eps,
        "rope_theta": stack.position.base,
        "rope_full_precision": True,
        "weight_tying": config.is_tied,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
        "mask_token_id": config.tokens.mask,
    }


LLADA = Family(
    model_type="llada",
    title="LLaDA",
    architecture="LLaDAModelLM",
    read=read,
    write=write,
    names=(
        Rule("model.transformer.wte.weight", ("token.weight",)),
        Rule("model.transformer.ln_f.weight", ("decoder.norm.weight",)),
        Rule("model.transformer.ff_out.weight", ("head.projection.weight",)),
        Rule(f"{BLOCK}.attn_norm.weight", (f"{ATTENTION}.before.weight",)),
        *affine(f"{BLOCK}.q_proj", f"{ATTENTION}.sublayer.query"),
        *affine(f"{BLOCK}.k_proj", f"{ATTENTION}.sublayer.key"),
        *affine(f"{BLOCK}.v_proj", f"{ATTENTION}.sublayer.value"),
        *affine(f"{BLOCK}.attn_out", f"{ATTENTION}.sublayer.output"),
        Rule(f"{BLOCK}.ff_norm.weight", (f"{FEEDFORWARD}.before.weight",)),
        *affine(f"{BLOCK}.ff_proj", f"{FEEDFORWARD}.sublayer.input"),
        *affine(f"{BLOCK}.up_proj", f"{FEEDFORWARD}.sublayer.linear"),
        *affine(f"{BLOCK}.ff_out", f"{FEEDFORWARD}.sublayer.output"),
    ),
    prefix="model.",
)
