"""BART (Lewis et al. 2020), as transformers writes it: an encoder and a decoder with norms behind each sum, a bias on the logits.

The bias was never trained and may be missing. Of the position table, two rows are skipped.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig, StackConfig
from ..layout import ROW
from ..names import Rule, affine
from .family import Family
from .fields import NAMED, Fields

OFFSET = 2
ARCHITECTURE = "BartForConditionalGeneration"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    fields.architecture({ARCHITECTURE: True, "BartModel": True})
    return translator(fields, {"kind": "learned", "offset": OFFSET}, has_embedding_norm=True)


def translator(fields: Fields, position: dict[str, Any], *, has_embedding_norm: bool) -> dict[str, Any]:
    """The knobs of both stacks, in the keys that this family and Marian share."""
    fields.must_be(tie_word_embeddings=True, is_decoder=False)
    vocab_size, d_model = fields.integer("vocab_size"), fields.integer("d_model")
    activation = fields.activation("activation_function", "gelu")
    stacks = {
        name: {
            "num_layers": fields.integer(f"{name}_layers"),
            "d_model": d_model,
            "attention": {"num_heads": fields.integer(f"{name}_attention_heads")},
            "feedforward": {"d_hidden": fields.integer(f"{name}_ffn_dim"), "activation": activation},
            "placement": "post",
            "position": position,
            "has_embedding_norm": has_embedding_norm,
            "has_final_norm": False,
        }
        for name in ("encoder", "decoder")
    }
    ids = {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad", "decoder_start")}
    return {
        "vocab_size": vocab_size,
        "context": fields.integer("max_position_embeddings"),
        **stacks,
        "embedding_scale": max(d_model, 1) ** 0.5 if fields.boolean("scale_embedding", False) else 1.0,
        "head_bias": True,
        "tokens": ids,
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json; ours have no dropout."""
    ids = {f"{role}_token_id": value for role, value in vars(config.tokens).items() if role != "mask"}
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.main.d_model,
        "max_position_embeddings": config.context,
        **_sizes("encoder", config.encoder or config.main),
        **_sizes("decoder", config.main),
        "activation_function": NAMED[config.main.feedforward.activation],
        "scale_embedding": config.embedding_scale != 1.0,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "dropout": 0.0,
        "forced_eos_token_id": config.tokens.eos,
        **ids,
    }


def _sizes(name: str, stack: StackConfig) -> dict[str, int]:
    return {
        f"{name}_layers": stack.num_layers,
        f"{name}_attention_heads": stack.attention.num_heads,
        f"{name}_ffn_dim": stack.feedforward.d_hidden,
    }


def names() -> tuple[Rule, ...]:
    """The name table of both stacks and the head."""
    return (
        Rule("model.shared.weight", ("token.weight",)),
        *_names("encoder"),
        *_names("decoder"),
        Rule("final_logits_bias", ("head.projection.bias",), (ROW,)),
    )


def _names(stack: str) -> list[Rule]:
    block, layer = f"model.{stack}.layers." + "{layer}", stack + ".layers.{layer}"
    parts = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output"))
    rules = [
        Rule(f"model.{stack}.embed_positions.weight", (f"{stack}.embedding.position.weight",)),
        *affine(f"model.{stack}.layernorm_embedding", f"{stack}.embedding.norm"),
        *affine(f"{block}.fc1", f"{layer}.feedforward.sublayer.input"),
        *affine(f"{block}.fc2", f"{layer}.feedforward.sublayer.output"),
        *affine(f"{block}.final_layer_norm", f"{layer}.feedforward.norm"),
    ]
    for theirs, ours in (("self_attn", "attention"), ("encoder_attn", "cross")):
        rules += affine(f"{block}.{theirs}_layer_norm", f"{layer}.{ours}.norm")
        for their_part, part in parts:
            rules += affine(f"{block}.{theirs}.{their_part}", f"{layer}.{ours}.sublayer.{part}")
    return rules


BART = Family(
    model_type="bart",
    title="BART",
    architecture=ARCHITECTURE,
    read=read,
    write=write,
    names=names(),
    extras={"head_bias": (), "tokens.mask": ()},
    prefix="model.",
    ignored=(r"(model\.)?(en|de)coder\.version",),
    copies=dict.fromkeys(
        ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        "model.shared.weight",
    ),
    optional={"head_bias": "final_logits_bias"},
)
