"""Cutaway's own form, for any config that no other family holds: the knobs under `cutaway`, every tensor under its own name."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ..names import Rule
from .family import OURS, Family
from .fields import Fields


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs."""
    return fields.table(OURS)


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json; the keys that any tool looks for stand beside ours."""
    return {
        OURS: config.to_dict(),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.is_tied,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
    }


NATIVE = Family(
    model_type="cutaway",
    title="Cutaway",
    architecture="Transformer",
    read=read,
    write=write,
    names=(Rule("{name}", ("{name}",)),),
)
