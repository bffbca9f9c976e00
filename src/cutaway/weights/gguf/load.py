"""A .gguf file -> a model and its tokenizer. In: a path. Out: both, every number from the file.

As with a checkpoint directory, the header is compared with the shapes that it asks for (a model built without numbers) before
any tensor is read. Each tensor is then read and decoded once, piece by piece, into the type asked for: memory holds the model
and, where a tensor lies differently in the file, one tensor more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...config import ModelConfig
from ...model import Transformer
from ...text import Tokenizer
from ..check import check_names, check_numbers, check_size
from ..families import Family
from ..layout import split, stored_shape
from ..names import Mapped
from ..places import Places, Watcher, settle_tables
from .architecture import Architecture
from .describe import name_table, read_description
from .reader import GgufFile
from .vocabulary import read_tokenizer

HEADER = "its header"


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a file. tokenizer: None where it has none."""

    model: Transformer
    tokenizer: Tokenizer | None


def load(path: Path, dtype: torch.dtype = torch.float32, watcher: Watcher | None = None) -> Opened:
    """The model of a file, every parameter in `dtype`, and its tokenizer. watcher: see `Watcher`.

    Raises CutawayError, naming the file and the fault, for a file that is missing, cut, of an architecture or kind of numbers
    that Cutaway does not know, or whose tensors are missing, too many, misshapen or not finite.
    """
    with GgufFile(Path(path)) as file:
        architecture, family, config = read_description(file)
        check_size(config, file, HEADER)
        tokenizer = read_tokenizer(file.metadata, file.place)
        model, mapped = _planned(architecture, family, config, file)
        settled = settle_tables(model, lambda name: file.read(_theirs(mapped, name)))
        if settled != config:
            model, mapped = _planned(architecture, family, settled, file)
        _fill(model, mapped, file, dtype, watcher)
    return Opened(model.eval(), tokenizer)


def read_config(path: Path) -> ModelConfig:
    """The config of a file, from its header alone. Raises CutawayError as `load` does for the header."""
    with GgufFile(Path(path)) as file:
        return read_description(file)[2]


def _planned(
    architecture: Architecture, family: Family, config: ModelConfig, file: GgufFile
) -> tuple[Transformer, list[Mapped]]:
    """A model without numbers, and where each comes from: all there and of the right shape."""
    with torch.device("meta"):
        model = Transformer(config)
    ours = Places(model).tensors
    mapped = name_table(architecture, family, config, ours)
    shapes = {
        entry.theirs: stored_shape(entry.layout, [tuple(ours[name].shape) for name in entry.ours]) for entry in mapped
    }
    check_names(replace(family, prefix="", ignored=architecture.ignored, copies={}), shapes, file, HEADER)
    return model, mapped


def _theirs(mapped: list[Mapped], name: str) -> str:
    return next(entry.theirs for entry in mapped if entry.ours == (name,))


def _fill(
    model: Transformer, mapped: list[Mapped], file: GgufFile, dtype: torch.dtype, watcher: Watcher | None
) -> None:
    places, told = Places(model), watcher and watcher(model)
    otherwise = f"in {file.place} (read as {dtype}). The weights are damaged, or too large for this type."
    turned = [file.entries[entry.theirs].num_numbers for entry in mapped if entry.layout]
    # What lies differently in the file passes through one buffer: fresh memory for each would leave holes in the heap.
    scratch = torch.empty(max(turned, default=0), dtype=dtype)
    for entry in mapped:
        kept = places.dtype(entry.ours[0], dtype)
        is_turned = bool(entry.layout) and kept == dtype
        stored = file.read(entry.theirs, kept, scratch if is_turned else None)
        parts = split(entry.layout, stored, [tuple(places.tensors[name].shape) for name in entry.ours])
        for name, part in zip(entry.ours, parts, strict=True):
            put = places.put(name, part, kept, is_borrowed=is_turned)
            check_numbers(entry.theirs, put, otherwise)
        if told:
            places.tell(entry.ours, dtype, told)
