"""What can be wrong with the tensors of a checkpoint. In: what the config asks for, what the file has. Out: one message.

Size before anything is built, names and shapes before anything is read, and every number as it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..config import ModelConfig, StackConfig
from ..cost import num_parameters
from ..errors import CutawayError
from .families import Family

SLACK = 1_000_000  # numbers: below this, a wrong config costs nothing to compare name by name
MOST_NETWORKS = 100_000  # experts in all layers; the largest known models have about 25,000
MOST_NAMES = 5


class Entry(Protocol):
    """What a file's header says of a tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers, once read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, the outermost axis first."""


class Held(Protocol):
    """The tensors of a checkpoint, in whichever files they lie. place: the file to name in messages."""

    @property
    def place(self) -> Path:
        """The file."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is there, by name."""

    def read(self, name: str) -> Tensor:
        """One tensor."""


def check_size(config: ModelConfig, held: Held, source: str = "config.json") -> None:
    """Refuse a config that asks for far more than the files hold, before a model is built from it.

    source: what the config was read from, for messages.
    """
    stacks = config.stacks.values()
    layers = sum(stack.num_distinct for stack in stacks)
    asked = num_parameters(config) + sum(_table(config, stack) for stack in stacks)
    found = sum(math.prod(entry.shape) for entry in held.entries.values())
    networks = sum(stack.num_distinct * _num_networks(stack) for stack in stacks)
    if asked > 2 * found + SLACK or layers > len(held.entries) + 1000 or networks > MOST_NETWORKS:
        raise CutawayError(
            f"{source} asks for {asked:,} numbers in {layers:,} layers, and {held.place} holds {found:,} in "
            f"{len(held.entries):,} tensors. One of the two is damaged or belongs to another model."
        )


def check_names(family: Family, shapes: Mapping[str, tuple[int, ...]], file: Held, source: str = "config.json") -> None:
    """Compare the file with what the config asks for. shapes: by name in the file. Raises one CutawayError for all faults."""
    held = file.entries
    ignored = [name for name in held if any(re.fullmatch(pattern, name) for pattern in family.ignored)]
    copies = {copy: original for copy, original in family.copies.items() if copy in held and copy not in shapes}
    faults = [
        listed("missing", [name for name in shapes if name not in held]),
        listed("not asked for", [name for name in held if name not in {*shapes, *ignored, *copies}]),
        listed(
            "misshapen",
            [
                f"{name} is {list(held[name].shape)} and should be {list(shape)}"
                for name, shape in shapes.items()
                if name in held and held[name].shape != shape
            ],
        ),
        listed("not of a floating type", [name for name in shapes if name in held and not _is_float(held[name].dtype)]),
    ]
    found = " ".join(fault for fault in faults if fault)
    if found:
        raise CutawayError(f"{file.place} does not hold the model that {source} describes. {found}")
    for copy, original in copies.items():
        _check_copy(copy, original if original in held else original.removeprefix(family.prefix), file)


def check_numbers(name: str, tensor: Tensor, otherwise: str) -> Tensor:
    """The tensor itself, if all its numbers are finite; otherwise: the end of the message. Raises CutawayError."""
    # A sum is finite unless a number is not, or it overflows; it costs a thirtieth of looking at each.
    wide = torch.float32 if tensor.dtype == torch.float16 else None
    if not bool(torch.isfinite(tensor.detach().sum(dtype=wide))) and not bool(torch.isfinite(tensor).all()):
        raise CutawayError(f"The tensor {name} holds numbers that are not finite (NaN or infinity) {otherwise}")
    return tensor


def listed(what: str, names: Sequence[str]) -> str:
    """A sentence that counts the names and says the first few; "" where there are none."""
    if not names:
        return ""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} {what}: {', '.join(names[:MOST_NAMES])}{more}."


def _check_copy(copy: str, original: str, file: Held) -> None:
    one, other = file.entries[copy], file.entries[original]
    if one.shape != other.shape or not torch.equal(file.read(copy), file.read(original)):
        raise CutawayError(
            f"{file.place}: {copy} and {original} differ, but config.json says that they are tied. Set "
            "tie_word_embeddings to false there, or save the checkpoint again."
        )


def _table(config: ModelConfig, stack: StackConfig) -> int:
    return (config.context + stack.position.offset) * stack.d_model if stack.position.kind == "sinusoidal" else 0


def _num_networks(stack: StackConfig) -> int:
    return stack.feedforward.experts.num_experts if stack.feedforward.experts else 1


def _is_float(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point
