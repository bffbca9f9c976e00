"""BERT (Devlin et al. 2019), as transformers writes it: a masked language model, or the encoder alone with its pooler.

What predicts whether two texts follow each other is left out. `architectures` says which of the two a directory holds.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..names import Rule, affine
from .family import Family
from .fields import NAMED, Fields

LAYER = "encoder.layers.{layer}"
NUM_SPAN_LABELS = 2
ATTENTION, FEEDFORWARD = f"{LAYER}.attention", f"{LAYER}.feedforward"
MASKED, BARE, SPANS = "BertForMaskedLM", "BertModel", "BertForQuestionAnswering"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    fields.must_be(position_embedding_type="absolute")
    end = fields.architecture({MASKED: "head", "BertForPreTraining": "head", BARE: "pooler", SPANS: "spans"})
    return {
        **encoder(fields, offset=0, context=fields.integer("max_position_embeddings")),
        **ends(end, fields.activation("hidden_act", "gelu")),
        "tokens": roles(fields, fields.integer("vocab_size")),
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    return {
        "architectures": [architecture_of(config, MASKED, BARE, SPANS)],
        **sizes(config),
        "max_position_embeddings": config.context,
        "pad_token_id": config.tokens.pad,
    }


def encoder(fields: Fields, *, offset: int, context: int) -> dict[str, Any]:
    """The stack, and the table of positions whose first `offset` rows are skipped."""
    fields.must_be(is_decoder=False, add_cross_attention=False, tie_word_embeddings=True)
    return {
        "vocab_size": fields.integer("vocab_size"),
        "context": context,
        "encoder": {
            "num_layers": fields.integer("num_hidden_layers"),
            "d_model": fields.integer("hidden_size"),
            "attention": {"num_heads": fields.integer("num_attention_heads")},
            "feedforward": {
                "d_hidden": fields.integer("intermediate_size"),
                "activation": fields.activation("hidden_act", "gelu"),
            },
            "norm": {"eps": fields.number("layer_norm_eps", 1e-12)},
            "placement": "post",
            "position": {"kind": "learned", "offset": offset},
            "has_embedding_norm": True,
            "has_final_norm": False,
            "num_token_types": fields.integer_or("type_vocab_size", 2),
        },
    }


def ends(end: str, activation: str) -> dict[str, Any]:
    """What follows the stack: a head with its transform, a pooler, or two scores for where an answer begins and ends."""
    known: dict[str, dict[str, Any]] = {
        "head": {"head_bias": True, "head_transform": activation},
        "pooler": {"has_head": False, "has_pooler": True},
        "spans": {"has_head": False, "num_labels": NUM_SPAN_LABELS},
    }
    return known[end]


def architecture_of(config: ModelConfig, masked: str, bare: str, spans: str) -> str:
    """Which of a family's classes a config is."""
    if config.has_head:
        return masked
    return spans if config.num_labels else bare


def roles(fields: Fields, vocab_size: int) -> dict[str, int | None]:
    """The ids that a config.json names."""
    return {role: fields.token_id(f"{role}_token_id", vocab_size) for role in ("bos", "eos", "pad")}


def sizes(config: ModelConfig) -> dict[str, Any]:
    """What is written alike in this family and its successors; ours have no dropout."""
    stack = config.main
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": stack.d_model,
        "num_hidden_layers": stack.num_layers,
        "num_attention_heads": stack.attention.num_heads,
        "intermediate_size": stack.feedforward.d_hidden,
        "hidden_act": NAMED[stack.feedforward.activation],
        "layer_norm_eps": stack.norm.eps,
        "type_vocab_size": stack.num_token_types,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
    }


def names(body: str) -> tuple[Rule, ...]:
    """The name table of everything below the head. body: the prefix of the encoder's names."""
    table, block = f"{body}.embeddings", body + ".encoder.layer.{layer}"
    parts = ("query", "key", "value")
    attention = [
        rule for part in parts for rule in affine(f"{block}.attention.self.{part}", f"{ATTENTION}.sublayer.{part}")
    ]
    return (
        Rule(f"{table}.word_embeddings.weight", ("token.weight",)),
        Rule(f"{table}.position_embeddings.weight", ("encoder.embedding.position.weight",)),
        Rule(f"{table}.token_type_embeddings.weight", ("encoder.embedding.types.weight",)),
        *affine(f"{table}.LayerNorm", "encoder.embedding.norm"),
        *attention,
        *affine(f"{block}.attention.output.dense", f"{ATTENTION}.sublayer.output"),
        *affine(f"{block}.attention.output.LayerNorm", f"{ATTENTION}.norm"),
        *affine(f"{block}.intermediate.dense", f"{FEEDFORWARD}.sublayer.input"),
        *affine(f"{block}.output.dense", f"{FEEDFORWARD}.sublayer.output"),
        *affine(f"{block}.output.LayerNorm", f"{FEEDFORWARD}.norm"),
        *affine(f"{body}.pooler.dense", "pooler.dense"),
        *affine("qa_outputs", "labels.projection"),
    )


BERT = Family(
    model_type="bert",
    title="BERT",
    architecture=MASKED,
    read=read,
    write=write,
    names=(
        *names("bert"),
        *affine("cls.predictions.transform.dense", "head.transform.dense"),
        *affine("cls.predictions.transform.LayerNorm", "head.transform.norm"),
        Rule("cls.predictions.bias", ("head.projection.bias",)),
    ),
    extras={"has_pooler": (), "tokens.mask": (), "tokens.decoder_start": ()},
    prefix="bert.",
    ignored=(
        r"(bert\.)?pooler\.dense\.(weight|bias)",
        r"(bert\.)?embeddings\.position_ids",
        r"cls\.seq_relationship\..*",
    ),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    optional={"has_pooler": "bert.pooler.dense.weight"},
    older={"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
)
