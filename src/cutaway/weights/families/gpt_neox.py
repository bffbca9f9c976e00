"""GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023), as transformers writes them.

Attention and feed-forward layer side by side; a part of each head turned by position; queries, keys and values fused by head.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..layout import FusedByHead
from ..names import Rule, affine
from .family import Family
from .fields import NAMED, Fields
from .positions import read_rotary, write_rotary

LAYER, BLOCK = "decoder.layers.{layer}", "gpt_neox.layers.{layer}"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. The turned part of a head was once called rotary_pct, and the base rotary_emb_base."""
    older = {"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"}
    found = {new: fields.data[old] for new, old in older.items() if old in fields.data}
    fields = Fields({**found, **fields.data}, fields.where)
    vocab_size, bias = fields.integer("vocab_size"), fields.boolean("attention_bias", True)
    return {
        "vocab_size": vocab_size,
        "context": fields.integer("max_position_embeddings"),
        "decoder": {
            "num_layers": fields.integer("num_hidden_layers"),
            "d_model": fields.integer("hidden_size"),
            "attention": {"num_heads": fields.integer("num_attention_heads"), "bias": bias, "output_bias": bias},
            "feedforward": {
                "d_hidden": fields.integer("intermediate_size"),
                "activation": fields.activation("hidden_act", "gelu"),
            },
            "norm": {"eps": fields.number("layer_norm_eps", 1e-5)},
            "placement": "parallel" if fields.boolean("use_parallel_residual", True) else "pre",
            "position": read_rotary(fields, 10_000.0, is_partial=True),
        },
        "is_tied": fields.boolean("tie_word_embeddings", False),
        "tokens": {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad")},
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    stack = config.main
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": stack.d_model,
        "num_hidden_layers": stack.num_layers,
        "num_attention_heads": stack.attention.num_heads,
        "intermediate_size": stack.feedforward.d_hidden,
        "hidden_act": NAMED[stack.feedforward.activation],
        "layer_norm_eps": stack.norm.eps,
        "attention_bias": stack.attention.bias,
        "use_parallel_residual": stack.placement == "parallel",
        "rotary_pct": stack.position.fraction,
        "rotary_emb_base": stack.position.base,
        "tie_word_embeddings": config.is_tied,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
        **write_rotary(stack.position),
    }


def names(config: ModelConfig) -> tuple[Rule, ...]:
    """The name table: of blocks side by side or one after the other, whichever a model has."""
    fused = (FusedByHead(config.main.attention.num_heads),)
    rules: list[Rule] = [
        Rule("gpt_neox.embed_in.weight", ("token.weight",)),
        Rule("embed_out.weight", ("head.projection.weight",)),
        *affine("gpt_neox.final_layer_norm", "decoder.norm"),
    ]
    for heads, network, before in (
        (f"{LAYER}.attention", f"{LAYER}.feedforward", "_norm"),
        (f"{LAYER}.attention.sublayer", f"{LAYER}.feedforward.sublayer", ".before"),
    ):
        rules += [
            *affine(f"{BLOCK}.input_layernorm", f"{LAYER}.attention{before}"),
            *affine(f"{BLOCK}.post_attention_layernorm", f"{LAYER}.feedforward{before}"),
            *affine(
                f"{BLOCK}.attention.query_key_value",
                *(f"{heads}.{part}" for part in ("query", "key", "value")),
                layout=fused,
            ),
            *affine(f"{BLOCK}.attention.dense", f"{heads}.output"),
            *affine(f"{BLOCK}.mlp.dense_h_to_4h", f"{network}.input"),
            *affine(f"{BLOCK}.mlp.dense_4h_to_h", f"{network}.output"),
        ]
    return tuple(rules)


GPT_NEOX = Family(
    model_type="gpt_neox",
    title="GPT-NeoX",
    architecture="GPTNeoXForCausalLM",
    read=read,
    write=write,
    names=names,
    prefix="gpt_neox.",
    ignored=(r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
    copies={"embed_out.weight": "gpt_neox.embed_in.weight"},
)
