"""GPT-2 (Radford et al. 2019), as transformers writes it. It is also the form of our own decoder-only models.

Its matrices are stored [d_in, d_out], and queries, keys and values are one. A sinusoidal table is stored as `wpe`.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..layout import FUSED, TRANSPOSED
from ..names import Rule, affine
from .family import Family
from .fields import NAMED, Fields

LAYER, BLOCK = "decoder.layers.{layer}", "transformer.h.{layer}"
ATTENTION, FEEDFORWARD = f"{LAYER}.attention", f"{LAYER}.feedforward"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. What transformers leaves out has transformers' defaults."""
    fields.must_be(scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    vocab_size, d_model = fields.integer("vocab_size"), fields.integer("n_embd")
    return {
        "vocab_size": vocab_size,
        "context": fields.integer("n_positions"),
        "decoder": {
            "num_layers": fields.integer("n_layer"),
            "d_model": d_model,
            "attention": {
                "num_heads": fields.integer("n_head"),
                "scale": None if fields.boolean("scale_attn_weights", True) else 1.0,
            },
            "feedforward": {
                "d_hidden": fields.integer_or("n_inner", 4 * d_model),
                "activation": fields.activation("activation_function", "gelu_new"),
            },
            "norm": {"eps": fields.number("layer_norm_epsilon", 1e-5)},
            "position": {"kind": "learned"},
        },
        "is_tied": fields.boolean("tie_word_embeddings", True),
        "tokens": {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad")},
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json. Ours have no dropout; null ids must be said, for transformers has ids by default."""
    stack = config.main
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": stack.d_model,
        "n_layer": stack.num_layers,
        "n_head": stack.attention.num_heads,
        "n_inner": stack.feedforward.d_hidden,
        "activation_function": NAMED[stack.feedforward.activation],
        "layer_norm_epsilon": stack.norm.eps,
        "scale_attn_weights": stack.attention.scale != 1.0,
        "tie_word_embeddings": config.is_tied,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
    }


GPT2 = Family(
    model_type="gpt2",
    title="GPT-2",
    architecture="GPT2LMHeadModel",
    read=read,
    write=write,
    names=(
        Rule("transformer.wte.weight", ("token.weight",)),
        Rule("transformer.wpe.weight", ("decoder.embedding.position.weight",)),
        *affine(f"{BLOCK}.ln_1", f"{ATTENTION}.before"),
        *affine(
            f"{BLOCK}.attn.c_attn",
            f"{ATTENTION}.sublayer.query",
            f"{ATTENTION}.sublayer.key",
            f"{ATTENTION}.sublayer.value",
            layout=(FUSED, TRANSPOSED),
        ),
        *affine(f"{BLOCK}.attn.c_proj", f"{ATTENTION}.sublayer.output", layout=(TRANSPOSED,)),
        *affine(f"{BLOCK}.ln_2", f"{FEEDFORWARD}.before"),
        *affine(f"{BLOCK}.mlp.c_fc", f"{FEEDFORWARD}.sublayer.input", layout=(TRANSPOSED,)),
        *affine(f"{BLOCK}.mlp.c_proj", f"{FEEDFORWARD}.sublayer.output", layout=(TRANSPOSED,)),
        *affine("transformer.ln_f", "decoder.norm"),
        Rule("lm_head.weight", ("head.projection.weight",)),
    ),
    extras={
        "decoder.position.kind": ("sinusoidal",),
        "decoder.position.base": (),
        "decoder.position.scale": (),
        "decoder.position.halved": (),
        "tokens.mask": (),
        "tokens.decoder_start": (),
    },
    prefix="transformer.",
    ignored=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
    copies={"lm_head.weight": "transformer.wte.weight"},
)
