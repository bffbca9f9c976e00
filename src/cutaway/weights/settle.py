"""What the file of weights says and config.json does not. In: a family, a config, the names in a file. Out: the config settled.

Some knobs are written nowhere but in the tensors: whether a pooler was kept, whether there is a bias on the logits, whether a
head that config.json calls tied has numbers of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..config import ModelConfig
from .families import Family
from .names import Mapped
from .shards import Shards


def settle_knobs(family: Family, config: ModelConfig, shards: Shards) -> ModelConfig:
    """The config with each knob off whose tensor is not there, and untied where the head has numbers of its own."""
    off: dict[str, Any] = {
        knob: False for knob, name in family.optional.items() if _held(name, family, shards) not in shards.entries
    }
    head = family.own_head
    if config.is_tied and head in shards.entries and head in family.copies and _differ(family, shards, head):
        off["is_tied"] = False
    return replace(config, **off)


def settle_names(family: Family, mapped: list[Mapped], shards: Shards) -> list[Mapped]:
    """The map in the names of this file: without the prefix, in an older spelling, and without tables that follow by formula."""
    spelled = [replace(entry, theirs=_held(entry.theirs, family, shards)) for entry in mapped]
    return [entry for entry in spelled if entry.theirs in shards.entries or not family.is_derived(entry.theirs)]


def _held(name: str, family: Family, shards: Shards) -> str:
    """What the file calls the tensor, or would."""
    if not any(entry.startswith(family.prefix) for entry in shards.entries):
        name = name.removeprefix(family.prefix)
    if name not in shards.entries:
        for ending, older in family.older.items():
            if name.endswith(ending) and name.removesuffix(ending) + older in shards.entries:
                return name.removesuffix(ending) + older
    return name


def _differ(family: Family, shards: Shards, head: str) -> bool:
    original = _held(family.copies[head], family, shards)
    if original not in shards.entries or shards.entries[head].shape != shards.entries[original].shape:
        return False  # what is wrong with the names is said later
    return not torch.equal(shards.read(head), shards.read(original))
