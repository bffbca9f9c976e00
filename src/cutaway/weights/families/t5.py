"""T5 (Raffel et al. 2020), T5 1.1, Flan-T5 and mT5 (Xue et al. 2021), as transformers writes them.

Relative positions of the first layer serve all layers, scores are not scaled, norms have no bias. A tied head had its states
scaled by 1/sqrt(d_model). New files call every head tied, so the tensors say whether it is. Both model types are the same model;
what was read as mT5 is saved as T5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...config import ModelConfig
from ..names import Rule
from .family import Family
from .fields import NAMED, Fields

GATED = "gated-"
USUAL_CONTEXT = 512  # tokens of its training; its positions have no end


def read(fields: Fields) -> dict[str, Any]:
    """config.json of T5 -> knobs."""
    is_tied = fields.boolean("tie_word_embeddings", True)
    is_scaled = fields.boolean("scale_decoder_outputs", is_tied)
    return _read(fields, "relu", max(fields.integer("d_model"), 1) ** -0.5 if is_scaled else 1.0)


def read_multilingual(fields: Fields) -> dict[str, Any]:
    """config.json of mT5 -> knobs."""
    return _read(fields, "gated-gelu", 1.0)


def _read(fields: Fields, usual_network: str, logit_scale: float) -> dict[str, Any]:
    num_layers, vocab_size = fields.integer("num_layers"), fields.integer("vocab_size")
    stack = _stack(fields, usual_network)
    encoder, decoder = ({**stack, "position": _position(fields, is_encoder=each)} for each in (True, False))
    ids = {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad", "decoder_start")}
    return {
        "vocab_size": vocab_size,
        "context": fields.integer_or("n_positions", USUAL_CONTEXT),
        "encoder": {**encoder, "num_layers": num_layers},
        "decoder": {**decoder, "num_layers": fields.integer_or("num_decoder_layers", num_layers)},
        "is_tied": fields.boolean("tie_word_embeddings", True),
        "logit_scale": logit_scale,
        "tokens": ids,
    }


def _stack(fields: Fields, usual_network: str) -> dict[str, Any]:
    d_model, num_heads, d_head = fields.integer("d_model"), fields.integer("num_heads"), fields.integer("d_kv")
    network = fields.data.get("feed_forward_proj", usual_network)
    is_gated = isinstance(network, str) and network.startswith(GATED)
    name = "gelu_new" if network == "gated-gelu" else str(network).removeprefix(GATED)
    inner = Fields({"feed_forward_proj": name}, fields.where)
    return {
        "d_model": d_model,
        "attention": {
            "num_heads": num_heads,
            "d_head": None if num_heads * d_head == d_model else d_head,
            "bias": False,
            "output_bias": False,
            "scale": None if d_head == 1 else 1.0,
        },
        "feedforward": {
            "d_hidden": fields.integer("d_ff"),
            "activation": inner.activation("feed_forward_proj", usual_network),
            "is_gated": is_gated,
            "bias": False,
        },
        "norm": {"kind": "rms", "eps": fields.number("layer_norm_epsilon", 1e-6)},
    }


def _position(fields: Fields, *, is_encoder: bool) -> dict[str, Any]:
    return {
        "kind": "relative",
        "num_buckets": fields.integer_or("relative_attention_num_buckets", 32),
        "max_distance": fields.integer_or("relative_attention_max_distance", 128),
        "bidirectional": is_encoder,
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json; ours have no dropout."""
    encoder, stack, network = config.encoder or config.main, config.main, config.main.feedforward
    activation = "gelu" if network.is_gated and network.activation == "gelu_tanh" else NAMED[network.activation]
    ids = {f"{role}_token_id": value for role, value in vars(config.tokens).items() if role != "mask"}
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "d_model": stack.d_model,
        "d_kv": stack.d_head,
        "d_ff": network.d_hidden,
        "num_layers": encoder.num_layers,
        "num_decoder_layers": stack.num_layers,
        "num_heads": stack.attention.num_heads,
        "relative_attention_num_buckets": stack.position.num_buckets,
        "relative_attention_max_distance": stack.position.max_distance,
        "feed_forward_proj": (GATED if network.is_gated else "") + activation,
        "layer_norm_epsilon": stack.norm.eps,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.is_tied,
        "scale_decoder_outputs": config.logit_scale != 1.0,
        "dropout_rate": 0.0,
        **ids,
    }


def names(config: ModelConfig) -> tuple[Rule, ...]:
    """The name table."""
    is_gated = config.main.feedforward.is_gated
    return (
        Rule("shared.weight", ("token.weight",)),
        *_names("encoder", 1, is_gated=is_gated),
        *_names("decoder", 2, is_gated=is_gated),
        Rule("lm_head.weight", ("head.projection.weight",)),
    )


def _names(stack: str, feedforward: int, *, is_gated: bool) -> tuple[Rule, ...]:
    """The name table of one stack. feedforward: the place of the feed-forward layer among the sublayers of a layer."""
    layer, block = stack + ".layers.{layer}", stack + ".block.{layer}.layer."
    parts = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
    sublayers = [("attention", f"{block}0", "SelfAttention"), ("cross", f"{block}1", "EncDecAttention")]
    network, fed = f"{block}{feedforward}.DenseReluDense", f"{layer}.feedforward"
    return (
        Rule(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (f"{stack}.bias.for_full.weight",)
        ),
        *(
            Rule(f"{place}.{kind}.{theirs}.weight", (f"{layer}.{ours}.sublayer.{part}.weight",))
            for ours, place, kind in sublayers
            for theirs, part in parts
        ),
        *(Rule(f"{place}.layer_norm.weight", (f"{layer}.{ours}.before.weight",)) for ours, place, _ in sublayers),
        Rule(f"{block}{feedforward}.layer_norm.weight", (f"{fed}.before.weight",)),
        Rule(f"{network}.wo.weight", (f"{fed}.sublayer.output.weight",)),
        Rule(f"{network}.wi_1.weight", (f"{fed}.sublayer.linear.weight",)),
        Rule(f"{network}.{'wi_0' if is_gated else 'wi'}.weight", (f"{fed}.sublayer.input.weight",)),
        Rule(f"{stack}.final_layer_norm.weight", (f"{stack}.norm.weight",)),
    )


T5 = Family(
    model_type="t5",
    title="T5",
    architecture="T5ForConditionalGeneration",
    read=read,
    write=write,
    names=names,
    extras={"tokens.mask": ()},
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    copies=dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
    ),
    own_head="lm_head.weight",
)
MT5 = replace(T5, model_type="mt5", title="mT5", architecture="MT5ForConditionalGeneration", read=read_multilingual)
