"""Marian (Junczys-Dowmunt et al. 2018), as transformers writes it: a translator of the first transformer's shape.

Its rows of sines hold all sines first, then all cosines, and files leave them out. Source and target share one vocabulary here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...config import ModelConfig
from . import bart
from .fields import Fields

ARCHITECTURE = "MarianMTModel"


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    fields.architecture({ARCHITECTURE: True, "MarianModel": True})
    fields.must_be(share_encoder_decoder_embeddings=True)
    if fields.data.get("decoder_vocab_size") is not None:
        fields.must_be(decoder_vocab_size=fields.integer("vocab_size"))
    return bart.translator(fields, {"kind": "sinusoidal", "halved": True}, has_embedding_norm=False)


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    return {
        **bart.write(config),
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
    }


MARIAN = replace(
    bart.BART,
    model_type="marian",
    title="Marian",
    architecture=ARCHITECTURE,
    read=read,
    write=write,
    derived=(r"(model\.)?(en|de)coder\.embed_positions\.weight",),
)
