"""RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020), as transformers writes them.

BERT with another head, its positions counted on from padding's id. Both model types are the same model; what was read as
XLM-RoBERTa is saved as RoBERTa.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...config import ModelConfig
from ..names import Rule, affine
from .bert import BERT, architecture_of, encoder, ends, names, roles, sizes
from .family import Family
from .fields import Fields

MASKED, BARE, SPANS = "RobertaForMaskedLM", "RobertaModel", "RobertaForQuestionAnswering"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. The first row that a token takes is the one after that of padding's id."""
    fields.must_be(position_embedding_type="absolute")
    known = {MASKED: "head", BARE: "pooler", SPANS: "spans"}
    end = fields.architecture({**known, **{f"XLM{name}": end for name, end in known.items()}})
    pad = fields.integer_or("pad_token_id", 1)
    context = fields.integer("max_position_embeddings") - pad - 1
    return {
        **encoder(fields, offset=pad + 1, context=context),
        **ends(end, "gelu"),
        "tokens": {**roles(fields, fields.integer("vocab_size")), "pad": pad},
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    offset = config.main.position.offset
    return {
        "architectures": [architecture_of(config, MASKED, BARE, SPANS)],
        **sizes(config),
        "max_position_embeddings": config.context + offset,
        "pad_token_id": max(offset - 1, 0),
    }


ROBERTA = Family(
    model_type="roberta",
    title="RoBERTa",
    architecture=MASKED,
    read=read,
    write=write,
    names=(
        *names("roberta"),
        *affine("lm_head.dense", "head.transform.dense"),
        *affine("lm_head.layer_norm", "head.transform.norm"),
        Rule("lm_head.bias", ("head.projection.bias",)),
    ),
    extras=BERT.extras,
    prefix="roberta.",
    ignored=(r"(roberta\.)?pooler\.dense\.(weight|bias)", r"(roberta\.)?embeddings\.position_ids"),
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    optional={"has_pooler": "roberta.pooler.dense.weight"},
    older=BERT.older,
)
XLM_ROBERTA = replace(ROBERTA, model_type="xlm-roberta", title="XLM-RoBERTa", architecture=f"XLM{MASKED}")
