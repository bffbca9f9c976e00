"""Whatever a model lies in -> the model and its tokenizer. In: a directory or a .gguf file. Out: both, or the config alone."""

from __future__ import annotations

from pathlib import Path

import torch

from ..config import ModelConfig
from ..text import ChatTemplate, Tokenizer, find_tokenizer, read_chat_template
from . import checkpoint, gguf
from .gguf import Opened
from .places import Watcher
from .provenance import read_provenance

GGUF = ".gguf"
HALVES = ("float16", "bfloat16", "F16", "BF16")


def open_model(place: Path, dtype: torch.dtype = torch.float32, watcher: Watcher | None = None) -> Opened:
    """Read the weights into `dtype`, and the tokenizer where there is one.

    watcher: see `Watcher`. Raises CutawayError as both forms' `load` do.
    """
    if place.suffix == GGUF:
        return gguf.load(place, dtype, watcher)
    model = checkpoint.load(place, dtype, watcher)
    return Opened(model, Tokenizer.load(place) if find_tokenizer(place) is not None else None)


def open_config(place: Path) -> ModelConfig:
    """The config alone; no weights are read. Raises CutawayError as both forms' `read_config` do."""
    return gguf.read_config(place) if place.suffix == GGUF else checkpoint.read_config(place)


def is_half(place: Path) -> bool:
    """Whether most bytes of the weights are numbers of 16 bits. Only headers are read. Raises CutawayError for a damaged file."""
    return next(iter(read_provenance(place).stored), "") in HALVES


def read_template(place: Path) -> ChatTemplate | None:
    """How a conversation is written for the model, or None where it came without a template."""
    return gguf.read_template(place) if place.is_file() else read_chat_template(place)
