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
    spelling = _Spelling(family, shards)
    off: dict[str, Any] = {
        knob: False for knob, name in family.optional.items() if spelling.of(name) not in shards.entries
    }
    head = family.own_head
    if config.is_tied and head and head in shards.entries and _differ(shards, head, spelling.of(family.copies[head])):
        off["is_tied"] = False
    return replace(config, **off)


def settle_names(family: Family, mapped: list[Mapped], shards: Shards) -> list[Mapped]:
    """The map in the names of this file: without the prefix, in an older spelling, and without tables that follow by formula."""
    spelling = _Spelling(family, shards)
    spelled = [replace(entry, theirs=spelling.of(entry.theirs)) for entry in mapped]
    return [entry for entry in spelled if entry.theirs in shards.entries or not family.is_derived(entry.theirs)]


class _Spelling:
    """How this file spells the family's names."""

    def __init__(self, family: Family, shards: Shards) -> None:
        self.held, self.older = shards.entries, family.older
        has_prefix = any(name.startswith(family.prefix) for name in shards.entries)
        self.left_out = "" if has_prefix else family.prefix

    def of(self, name: str) -> str:
        """What the file calls a tensor, or would if it held it."""
        name = name.removeprefix(self.left_out)
        for ending, older in self.older.items():
            if name not in self.held and name.endswith(ending) and name.removesuffix(ending) + older in self.held:
                return name.removesuffix(ending) + older
        return name


def _differ(shards: Shards, head: str, original: str) -> bool:
    if original not in shards.entries or shards.entries[head].shape != shards.entries[original].shape:
        return False  # what is wrong with the names is said later
    one, other = shards.read(head), shards.read(original)
    return one.dtype != other.dtype or not torch.equal(one, other)
