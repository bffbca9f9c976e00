"""Encoders in GGUF files: BERT. In: nothing. Out: its table (see architectures).

llama.cpp makes vectors of texts with it: the states, their mean or the first one. It has no head that fills in masks; the
pooler is what it calls a classifier, which it uses where it ranks texts. Every token is of the first type to it.
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ...errors import CutawayError
from ..names import Rule, affine
from .architecture import BLOCK, EMBEDDING, SIZES, Architecture
from .source import Source

TYPES = "token_types.weight"
WORDS, FIRST, CLS = "tokenizer.ggml.model", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.cls_token_id"
MEAN = 1  # llama.h, llama_pooling_type: as `embed` does unless told otherwise


def _check(config: ModelConfig) -> None:
    if config.has_head:
        raise CutawayError(
            "llama.cpp's bert makes vectors of texts and has no head that fills in masks, as this model has. Save it as a "
            "checkpoint directory."
        )


def _read(source: Source) -> dict[str, Any]:
    if len(source.shapes.get(TYPES, ())) != 2:
        raise CutawayError(f"{source.place} holds no matrix {TYPES}, without which its model cannot be built.")
    first = source.metadata.get(FIRST)
    is_cls = source.metadata.get(WORDS) == "bert" and first == source.metadata.get(CLS)
    return {"type_vocab_size": source.shapes[TYPES][0], "bos_token_id": None if is_cls else first}


def _names(_: ModelConfig) -> tuple[Rule, ...]:
    table, layer = "bert.embeddings", "bert.encoder.layer.{layer}"
    pairs = (
        ("attn_q", "attention.self.query"),
        ("attn_k", "attention.self.key"),
        ("attn_v", "attention.self.value"),
        ("attn_output", "attention.output.dense"),
        ("attn_output_norm", "attention.output.LayerNorm"),
        ("ffn_up", "intermediate.dense"),
        ("ffn_down", "output.dense"),
        ("layer_output_norm", "output.LayerNorm"),
    )
    rules = (affine(f"{BLOCK}.{theirs}", f"{layer}.{ours}") for theirs, ours in pairs)
    return (
        Rule(EMBEDDING, (f"{table}.word_embeddings.weight",)),
        Rule("position_embd.weight", (f"{table}.position_embeddings.weight",)),
        Rule(TYPES, (f"{table}.token_type_embeddings.weight",)),
        *affine("token_embd_norm", f"{table}.LayerNorm"),
        *(rule for pair in rules for rule in pair),
        *affine("cls", "bert.pooler.dense"),
    )


BERT = Architecture(
    name="bert",
    model_type="bert",
    keys={**SIZES, "attention.layer_norm_epsilon": "layer_norm_eps"},
    names=_names,
    fixed={"architectures": ["BertModel"], "hidden_act": "gelu"},
    read=_read,
    write=lambda _: {"attention.causal": False, "pooling_type": MEAN},
    whole=lambda config: {"tokenizer.ggml.token_type_count": config.main.num_token_types},
    check=_check,
    rotary=False,
    plain=(r"position_embd\.weight",),
    exact=(r"token_types\.weight",),
)
