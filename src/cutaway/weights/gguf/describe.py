"""Metadata of a file <-> a config. In: a checked file, or our config. Out: the config and its name table, or keys to write.

The way goes through the config.json of a family. What no key of llama.cpp says (how a table of positions was made, further
roles of tokens) is kept in one key of our own, which other programs pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...config import ModelConfig
from ...errors import CutawayError, near
from ..families import Family, explain_misfit, family_of, find_family
from ..families.family import OURS
from ..names import Mapped, expand
from .architectures import ARCHITECTURES, Architecture
from .reader import GgufFile
from .values import SHOWN, Value

ARCHITECTURE = "general.architecture"
KNOBS = "cutaway.knobs"
PARTS = "split.count"
TOKENS, HEAD, EMBEDDING = "tokenizer.ggml.tokens", "output.weight", "token_embd.weight"
ROLES = {  # key of config.json -> key of a file
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}


def read_description(file: GgufFile) -> tuple[Architecture, Family, ModelConfig]:
    """What the file says that it is. Raises CutawayError where it is nothing that we know, or says too little."""
    _refuse_parts(file)
    architecture = _architecture(file.metadata.get(ARCHITECTURE), file.place)
    family = find_family(architecture.model_type, str(file.place))
    return architecture, family, family.from_json(_config_json(architecture, file), str(file.place))


def find_architecture(config: ModelConfig) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that holds a config, and its config.json. Raises CutawayError, naming what no file can say."""
    misfit = explain_misfit(config)
    if misfit is not None:
        raise CutawayError(f"No architecture of llama.cpp is this model: {misfit}. Save it as a checkpoint directory.")
    family = family_of(config)
    found = next((each for each in ARCHITECTURES if each.model_type == family.model_type), None)
    if found is None:
        known = ", ".join(each.name for each in ARCHITECTURES)
        raise CutawayError(f"Models of the {family.title} family cannot be written as .gguf. Those that can: {known}.")
    data = family.to_json(config)
    for key, wanted in found.fixed.items():
        if data.get(key, wanted) != wanted:
            raise CutawayError(
                f"llama.cpp's {found.name} always has {key} = {wanted!r}, and this model has {data[key]!r}. Another program "
                "would compute something else: save it as a checkpoint directory."
            )
    return found, data


def metadata_of(architecture: Architecture, data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file that say what a config.json says."""
    keys = {**architecture.keys, **architecture.optional}
    found = {f"{architecture.name}.{key}": data.get(theirs) for key, theirs in keys.items()}
    found[f"{architecture.name}.vocab_size"] = data["vocab_size"]
    if data.get(OURS):
        found[KNOBS] = json.dumps(data[OURS])
    return {key: value for key, value in found.items() if value is not None}


def name_table(architecture: Architecture, family: Family, config: ModelConfig, ours: Iterable[str]) -> list[Mapped]:
    """Where each of our tensors lies in a file, and how. Raises CutawayError for one that the architecture does not have."""
    rules = architecture.names(config)
    checkpoint = {entry.theirs: entry for entry in expand(family.rules(config), ours)}
    unknown = [name for name in checkpoint if not any(rule.match(name) for rule in rules)]
    if unknown:
        raise CutawayError(f"llama.cpp's {architecture.name} has no place for the tensor {unknown[0]}.")
    found = []
    for entry in expand(rules, checkpoint):
        parts = [checkpoint[name] for name in entry.ours]
        assert len(parts) == 1, "a tensor of a file is one tensor of a checkpoint"
        found.append(Mapped(entry.theirs, parts[0].ours, (*parts[0].layout, *entry.layout)))
    return found


def _architecture(name: Value | None, place: Path) -> Architecture:
    known = [each.name for each in ARCHITECTURES]
    for each in ARCHITECTURES:
        if each.name == name:
            return each
    if not isinstance(name, str):
        raise CutawayError(
            f"{place} does not say which architecture it has ({ARCHITECTURE}). Known: {', '.join(known)}."
        )
    close = near(name, known)
    raise CutawayError(
        f"{place} has the architecture '{name[:SHOWN]}', which Cutaway does not read from .gguf files. "
        f"Known: {', '.join(known)}.{close if 'mean' in close else ''}"
    )


def _refuse_parts(file: GgufFile) -> None:
    parts = file.metadata.get(PARTS, 1)
    if parts not in (0, 1):
        raise CutawayError(
            f"{file.place} is one of {str(parts)[:SHOWN]} parts of a model. Join them first:  llama-gguf-split --merge FIRST OUT"
        )


def _config_json(architecture: Architecture, file: GgufFile) -> dict[str, Any]:
    if EMBEDDING not in file.entries or len(file.entries[EMBEDDING].shape) != 2:
        raise CutawayError(f"{file.place} holds no matrix {EMBEDDING}, so it is not a language model.")
    data: dict[str, Any] = {
        **architecture.fixed,
        "vocab_size": file.entries[EMBEDDING].shape[0],
        "tie_word_embeddings": HEAD not in file.entries,
        **{theirs: file.metadata.get(key) for theirs, key in ROLES.items()},
    }
    for key, theirs in {**architecture.keys, **architecture.optional}.items():
        full = f"{architecture.name}.{key}"
        if full in file.metadata:
            data[theirs] = _single(file.metadata[full])
        elif key in architecture.keys:
            raise CutawayError(f"{file.place} has no key '{full}', without which its model cannot be built.")
    if KNOBS in file.metadata:
        data[OURS] = _knobs(file)
    return data


def _single(value: Value) -> Any:
    """A list of one value for every layer is that value."""
    is_same = isinstance(value, np.ndarray) and value.size and bool((value == value[0]).all())
    return value[0].item() if isinstance(value, np.ndarray) and is_same else value


def _knobs(file: GgufFile) -> dict[str, Any]:
    text = file.metadata[KNOBS]
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{file.place}: the key {KNOBS} is not JSON ({str(error)[:SHOWN]}).") from error
    if not isinstance(found, dict):
        raise CutawayError(f"{file.place}: the key {KNOBS} is not a table.")
    return found
