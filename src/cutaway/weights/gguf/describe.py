"""Metadata of a file <-> a config. In: a checked file, or our config. Out: the config and its name table, or keys to write.

The way goes through the config.json of a family. What no key of llama.cpp says (how a table of positions was made, further
roles of tokens) is kept in one key of our own, which other programs pass over. What is to be written is read again first: a
model that llama.cpp would take for another one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...config import ModelConfig
from ...errors import CutawayError, near
from ..families import FAMILIES, Family, explain_misfit, find_family
from ..families.family import OURS, differences, plainest
from ..names import Mapped, expand
from .architecture import EMBEDDING, HEAD, Architecture
from .architectures import ARCHITECTURES
from .reader import GgufFile
from .rope import FACTORS, factors_of, read_rope, write_rope
from .source import Source
from .values import SHOWN, Value

ARCHITECTURE = "general.architecture"
KNOBS = "cutaway.knobs"
PARTS = "split.count"
TELLING = ("expert_count", "attention.sliding_window")  # which of two of the same name it is
ROLES = {  # key of config.json -> key of a file
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
    "mask_token_id": "tokenizer.ggml.mask_token_id",
}
SAID_OTHERWISE = ("decoder.position.fraction",)  # as a number of dimensions, which may come from several fractions


def read_description(file: GgufFile) -> tuple[Architecture, Family, ModelConfig]:
    """What the file says that it is. Raises CutawayError where it is nothing that we know, or says too little."""
    _refuse_parts(file)
    architecture = _architecture(file.metadata, str(file.place))
    source = Source(
        place=str(file.place),
        name=architecture.name,
        metadata=file.metadata,
        shapes={name: entry.shape for name, entry in file.entries.items()},
        read=file.read,
    )
    family = find_family(architecture.model_type, source.place)
    return architecture, family, _config(architecture, family, source)


def find_architecture(config: ModelConfig) -> tuple[Architecture, Family]:
    """The architecture that holds a config. Raises CutawayError, naming what no file can say."""
    misfit = explain_misfit(config)
    if misfit is not None:
        raise CutawayError(f"No architecture of llama.cpp is this model: {misfit}. Save it as a checkpoint directory.")
    held = [family for family in FAMILIES if not family.misfits(config)]
    for family in held:
        for each in ARCHITECTURES:
            if each.model_type == family.model_type:
                each.check(config)
                return each, family
    known = ", ".join(find_family(each.model_type, "").title for each in ARCHITECTURES)
    raise CutawayError(f"Models of the {held[0].title} family cannot be written as .gguf. Those that can: {known}.")


def metadata_of(
    architecture: Architecture, family: Family, config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """The keys of a file that say what the config says. shapes: of the tensors in it.

    Raises CutawayError for a config that would be read as another one.
    """
    data = family.to_json(config)
    keys = {key: data.get(theirs) for key, theirs in {**architecture.keys, **architecture.optional}.items()}
    keys |= {"vocab_size": config.vocab_size, **architecture.write(config)}
    if architecture.rotary:
        keys |= write_rope(config.main)
    found = {f"{architecture.name}.{key}": value for key, value in keys.items() if value is not None}
    found |= architecture.whole(config)
    if data.get(OURS):
        found[KNOBS] = json.dumps(data[OURS])
    _check_same(architecture, family, config, {**found, **_roles(data)}, shapes)
    return found


def extra_tensors(architecture: Architecture, config: ModelConfig) -> dict[str, Tensor]:
    """What a file holds beside the weights, by name."""
    factors = factors_of(config.main) if architecture.factors else None
    return {} if factors is None else {FACTORS: factors}


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
        assert len(parts) == 1 or not any(part.layout for part in parts), "what is joined lies as it is with us"
        ours_of_all = tuple(name for part in parts for name in part.ours)
        found.append(Mapped(entry.theirs, ours_of_all, (*parts[0].layout, *entry.layout)))
    return found


def _architecture(metadata: Mapping[str, Value], place: str) -> Architecture:
    name = metadata.get(ARCHITECTURE)
    known = list(dict.fromkeys(each.name for each in ARCHITECTURES))
    if not isinstance(name, str):
        raise CutawayError(
            f"{place} does not say which architecture it has ({ARCHITECTURE}). Known: {', '.join(known)}."
        )
    found = [each for each in ARCHITECTURES if each.name == name]
    if found:
        has_experts, has_windows = (bool(metadata.get(f"{name}.{key}", 0)) for key in TELLING)
        return max(found, key=lambda each: (each.is_mixture == has_experts, each.has_windows == has_windows))
    close = near(name, known)
    raise CutawayError(
        f"{place} has the architecture '{name[:SHOWN]}', which Cutaway does not read from .gguf files. "
        f"Known: {', '.join(known)}.{close if 'mean' in close else ''}"
    )


def _refuse_parts(file: GgufFile) -> None:
    parts = file.metadata.get(PARTS, 1)
    if not isinstance(parts, int) or parts > 1:
        raise CutawayError(
            f"{file.place} is one of {str(parts)[:SHOWN]} parts of a model. Join them first:  llama-gguf-split --merge FIRST OUT"
        )


def _config(architecture: Architecture, family: Family, source: Source) -> ModelConfig:
    if len(source.shapes.get(EMBEDDING, ())) != 2:
        raise CutawayError(f"{source.place} holds no matrix {EMBEDDING}, so it is not a language model.")
    for key in architecture.keys:
        if source.get(key) is None:
            raise source.fault(key, "a value")
    if source.integer("block_count") > len(source.shapes):
        raise source.fault("block_count", f"at most the number of tensors, {len(source.shapes)}")
    named = {**architecture.keys, **architecture.optional}
    data: dict[str, Any] = {
        "vocab_size": source.shapes[EMBEDDING][0],
        "tie_word_embeddings": HEAD not in source.shapes,
        **{theirs: tensor in source.shapes for theirs, tensor in architecture.present.items()},
        **{theirs: source.metadata.get(key) for theirs, key in ROLES.items()},
        **architecture.fixed,
        **{theirs: source.get(key) for key, theirs in named.items() if source.get(key) is not None},
        **architecture.read(source),
    }
    if architecture.rotary:
        d_head = _d_head(source)
        data |= _rope_keys(read_rope(source, d_head, has_factors=architecture.factors))
    if KNOBS in source.metadata:
        data[OURS] = _knobs(source)
    config = family.from_json(data, source.place)
    off: dict[str, Any] = {
        knob: False
        for knob, tensor in family.optional.items()
        if _in_file(architecture, config, tensor) not in source.shapes
    }
    return replace(config, **off)


def _in_file(architecture: Architecture, config: ModelConfig, tensor: str) -> str | None:
    """What a file calls a tensor of a checkpoint."""
    found = (rule.match(tensor) for rule in architecture.names(config))
    return next((match[0] for match in found if match), None)


def _d_head(source: Source) -> int:
    usual = source.integer("embedding_length") // source.integer("attention.head_count")
    width = usual if source.get("attention.key_length") is None else source.integer("attention.key_length")
    if source.get("attention.value_length") not in (None, width):
        raise source.fault("attention.value_length", f"{width} only, as wide as a head's key")
    return width


def _rope_keys(table: dict[str, Any]) -> dict[str, Any]:
    """In the older style, in which a base of layers that slide may stand beside it; the fraction where families look for it."""
    older = {"rope_theta": table["rope_theta"], "rope_scaling": table}
    return {**older, "partial_rotary_factor": table.get("partial_rotary_factor", 1.0)}


def _knobs(source: Source) -> dict[str, Any]:
    text = source.metadata[KNOBS]
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{source.place}: the key {KNOBS} is not JSON ({str(error)[:SHOWN]}).") from error
    if not isinstance(found, dict):
        raise CutawayError(f"{source.place}: the key {KNOBS} is not a table.")
    return found


def _roles(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[theirs] for theirs, key in ROLES.items() if data.get(theirs) is not None}


def _check_same(
    architecture: Architecture,
    family: Family,
    config: ModelConfig,
    metadata: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    extra = extra_tensors(architecture, config)
    source = Source(
        place="the file",
        name=architecture.name,
        metadata=metadata,
        shapes={**shapes, **{name: tuple(tensor.shape) for name, tensor in extra.items()}},
        read=lambda name: extra[name],
    )
    again = plainest(_config(architecture, family, source))
    for knob, wanted, found in differences(plainest(config), again):
        if knob not in SAID_OTHERWISE:
            raise CutawayError(
                f"In llama.cpp's {architecture.name}, {knob} would be {_shown(found)}, and in this model it is "
                f"{_shown(wanted)}. Another program would compute something else: save it as a checkpoint directory."
            )


def _shown(value: object) -> str:
    return "none" if value is None else str(value)[:SHOWN]
