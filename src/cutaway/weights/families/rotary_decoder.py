"""What the rotary decoders share (Touvron et al. 2023): RMS norms before each sublayer, a gated feed-forward layer, few biases.

In: the keys of their config.json. Out: knobs, to which each family adds its own; the keys again; and the common name table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ...config import ModelConfig
from ..layout import Word
from ..names import Rule, affine
from .family import Family, merged
from .fields import NAMED, Fields
from .positions import read_rotary, write_rotary

LAYER, BLOCK = "decoder.layers.{layer}", "model.layers.{layer}"
ATTENTION, FEEDFORWARD = f"{LAYER}.attention", f"{LAYER}.feedforward"
IGNORED = (r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",)
OURS_ALONE: dict[str, tuple[object, ...]] = {
    "tokens.mask": (),
    "tokens.decoder_start": (),
}  # ids that others have no key for
COPIES = {"lm_head.weight": "model.embed_tokens.weight"}
RotaryFamily = partial(Family, prefix="model.", ignored=IGNORED, copies=COPIES)


def read_decoder(
    fields: Fields,
    decoder: dict[str, Any] | None = None,
    *,
    base: float = 10_000.0,
    is_tied: bool = False,
    **knobs: Any,
) -> dict[str, Any]:
    """Knobs from the common keys. decoder: what the family says of the stack; knobs: of the model. base, is_tied: defaults."""
    vocab_size, d_model = fields.integer("vocab_size"), fields.integer("hidden_size")
    num_heads = fields.integer("num_attention_heads")
    num_kv_heads, d_head = fields.integer_or("num_key_value_heads", num_heads), fields.integer_or_none("head_dim")
    activation = "hidden_activation" if fields.data.get("hidden_activation") is not None else "hidden_act"
    common = {
        "vocab_size": vocab_size,
        "context": fields.integer("max_position_embeddings"),
        "decoder": {
            "num_layers": fields.integer("num_hidden_layers"),
            "d_model": d_model,
            "attention": {
                "num_heads": num_heads,
                "num_kv_heads": None if num_kv_heads == num_heads else num_kv_heads,
                "d_head": None if d_head is None or d_head * num_heads == d_model else d_head,
                "bias": False,
                "output_bias": False,
            },
            "feedforward": {
                "d_hidden": fields.integer("intermediate_size"),
                "activation": fields.activation(activation, "silu"),
                "is_gated": True,
                "bias": False,
            },
            "norm": {"kind": "rms", "eps": fields.number("rms_norm_eps", 1e-6)},
            **({} if "position" in (decoder or {}) else {"position": read_rotary(fields, base)}),
        },
        "is_tied": fields.boolean("tie_word_embeddings", is_tied),
        "tokens": {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad")},
    }
    return merged(common, {**({"decoder": decoder} if decoder else {}), **knobs})


def write_decoder(config: ModelConfig, **keys: Any) -> dict[str, Any]:
    """The common keys of a config, and those of the family."""
    stack = config.main
    heads, network = stack.attention, stack.feedforward
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": stack.d_model,
        "intermediate_size": network.d_hidden,
        "num_hidden_layers": stack.num_layers,
        "num_attention_heads": heads.num_heads,
        "num_key_value_heads": heads.kv_heads,
        "head_dim": stack.d_head,
        "hidden_act": NAMED[network.activation],
        "max_position_embeddings": config.context,
        "rms_norm_eps": stack.norm.eps,
        "tie_word_embeddings": config.is_tied,
        "attention_dropout": 0.0,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
        **write_rotary(stack.position),
        **keys,
    }


OUTER = (
    Rule("model.embed_tokens.weight", ("token.weight",)),
    Rule("model.norm.weight", ("decoder.norm.weight",)),
    Rule("lm_head.weight", ("head.projection.weight",)),
)
PRE_NORMS = (
    Rule(f"{BLOCK}.input_layernorm.weight", (f"{ATTENTION}.before.weight",)),
    Rule(f"{BLOCK}.post_attention_layernorm.weight", (f"{FEEDFORWARD}.before.weight",)),
)
SANDWICH_NORMS = (
    Rule(f"{BLOCK}.input_layernorm.weight", (f"{ATTENTION}.before.weight",)),
    Rule(f"{BLOCK}.post_attention_layernorm.weight", (f"{ATTENTION}.after.weight",)),
    Rule(f"{BLOCK}.pre_feedforward_layernorm.weight", (f"{FEEDFORWARD}.before.weight",)),
    Rule(f"{BLOCK}.post_feedforward_layernorm.weight", (f"{FEEDFORWARD}.after.weight",)),
)
INNER_NORMS = (
    Rule(f"{BLOCK}.post_attention_layernorm.weight", (f"{ATTENTION}.after.weight",)),
    Rule(f"{BLOCK}.post_feedforward_layernorm.weight", (f"{FEEDFORWARD}.after.weight",)),
)
HEAD_NORMS = tuple(
    Rule(f"{BLOCK}.self_attn.{theirs}_norm.weight", (f"{ATTENTION}.sublayer.{ours}_norm.norm.weight",))
    for theirs, ours in (("q", "query"), ("k", "key"))
)
FULL_NORMS = tuple(
    Rule(f"{BLOCK}.self_attn.{theirs}_norm.weight", (f"{ATTENTION}.sublayer.{ours}_norm.weight",))
    for theirs, ours in (("q", "query"), ("k", "key"))
)


def heads(layout: tuple[Word, ...] = ()) -> tuple[Rule, ...]:
    """The four projections of attention, each by itself."""
    pairs = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
    rules = (affine(f"{BLOCK}.self_attn.{a}_proj", f"{ATTENTION}.sublayer.{b}", layout=layout) for a, b in pairs)
    return tuple(rule for pair in rules for rule in pair)


def network() -> tuple[Rule, ...]:
    """The three projections of a gated feed-forward layer."""
    pairs = (("gate", "input"), ("up", "linear"), ("down", "output"))
    rules = (affine(f"{BLOCK}.mlp.{a}_proj", f"{FEEDFORWARD}.sublayer.{b}") for a, b in pairs)
    return tuple(rule for pair in rules for rule in pair)


def experts(block: str, gate: str, up: str, down: str) -> tuple[Rule, ...]:
    """A router and numbered experts under `block`, whose projections have these names."""
    ours, theirs = f"{FEEDFORWARD}.sublayer.experts.{{expert}}", f"{BLOCK}.{block}.experts.{{expert}}"
    names = ((gate, "input"), (up, "linear"), (down, "output"))
    return (
        Rule(f"{BLOCK}.{block}.gate.weight", (f"{FEEDFORWARD}.sublayer.router.weight",)),
        *(Rule(f"{theirs}.{a}.weight", (f"{ours}.{b}.weight",)) for a, b in names),
    )
