"""Adapters <-> files in PEFT's format. In: a model with adapters, or a directory. Out: the directory, or the model with adapters.

    adapter_config.json         rank, alpha, and which modules (see adapter_settings)
    adapter_model.safetensors   base_model.model.<module>.lora_A.weight [rank, d_in], ….lora_B.weight [d_out, rank]
    adapter_parts.json          where one module of theirs is several projections of ours (see adapter_parts)
    adapter_base.json           some numbers of the base's matrices, to know it by (see adapter_base)

Adapters at masks (see model.masks) have a key of ours in adapter_config.json, and the mask's vector among the tensors.

Modules are called as the family of the base calls them (see adapter_names). Everything is checked before the model is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Transformer
from ..model.adapter import adapters, matrices, put_adapter, train_adapters_alone
from ..model.masks import base_config, mask_embedding, masks_of, open_masks
from ..model.projection import Projection
from .adapter_base import check_base, write_base
from .adapter_names import AdapterNames, Target, names_that_fit
from .adapter_parts import Factors, complete, cut, fuse, read_parts, write_parts
from .adapter_settings import Settings, read_settings, write_settings
from .atomic import write_directory
from .check import check_numbers, listed
from .families import Family, family_of, find_family
from .files import read_json
from .layout import join
from .pickle_file import PickleFile
from .places import Places
from .tensor_file import TensorFile, write_tensors

WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
ROW = "cutaway.mask"  # the mask's vector, [d_model]
COPY = ".base_layer."  # PEFT keeps the embedding and the head beside an adapter on them

File = TensorFile | PickleFile


def save_adapter(directory: Path, model: Transformer, *, base: str = "") -> None:
    """Write or replace a directory with the adapters of a model, for PEFT and for `load_adapter`; whole or not at all.

    base: what the model was made from, for those who open it; where it is a checkpoint directory, its family gives the names.
    Raises CutawayError for a model without adapters, numbers that are not finite, and if the system refuses.
    """
    write_directory(Path(directory), lambda temporary: write_adapter(temporary, model, base=base))


def write_adapter(directory: Path, model: Transformer, *, base: str = "") -> None:
    """As `save_adapter`, into a directory that is there, neither atomic nor synced: for a writer of `write_directory`."""
    found = {path: Factors(a.knobs, a.down.detach(), a.up.detach()) for path, a in adapters(model).items()}
    if not found:
        raise CutawayError(
            "The model has no adapters, so there is nothing to save. Attach some, or save the model itself."
        )
    config, token = base_config(model), mask_embedding(model)
    names = AdapterNames(_family(config, base), config)
    found, parts = complete(names.targets.values(), found)
    targets = [target for target in names.targets.values() if any(path in found for path in target.ours)]
    if nameless := found.keys() - {path for target in targets for path in target.ours}:
        raise CutawayError(
            f"The {names.family.title} family has no module for an adapter on {', '.join(sorted(nameless))}. Merge the adapters, "
            "and save the model itself."
        )
    whole: dict[str, Factors] = {}
    for target in targets:
        whole[names.written(target)], noted = fuse(target, found)
        parts |= noted
    row = {} if token is None else {ROW: token.row.detach()}
    write_tensors(directory / WEIGHTS, _checked({**_stored(whole), **row}), {})
    write_parts(directory, parts)
    write_base(directory, model)
    settings = replace(_settings(whole), base=base, masks=masks_of(model))
    is_turned = any(target.is_turned for target in targets)
    write_settings(directory, settings, _shortest(names, targets), _task(config), is_turned)


def load_adapter(directory: Path, model: Transformer) -> list[nn.Parameter]:
    """Put the adapters of a directory, ours or PEFT's, on a model, and freeze all else. Returns A and B of each, and of adapters
    at masks the mask's vector; the model's config then says what it predicts with them.

    Raises CutawayError, and leaves the model as it was, for a directory that is missing or damaged, for an adapter of another
    model, or of other weights of one shape, and for kinds of adapters that Cutaway does not compute.
    """
    directory = Path(directory)
    if adapters(model):
        raise CutawayError("The model has adapters already. Merge or detach them before others are loaded.")
    if not directory.is_dir():
        raise CutawayError(f"There is no adapter directory {directory}. It holds adapter_config.json and {WEIGHTS}.")
    settings, parts = read_settings(directory), read_parts(directory)
    if settings.masks is not None:
        settings.masks.applied(model.config)
    found: dict[str, Factors] = {}
    with _opened(directory) as file:
        modules, others = _sorted(file)
        names = names_that_fit(model.config, modules)
        _check(names, modules, settings, file)
        row = None if settings.masks is None else _read_row(model.config, file)
        _check_copies([name for name in others if settings.masks is None or name != ROW], names, model, file)
        for module in modules:
            target = names.find(module)
            assert target is not None, "checked"
            found |= cut(target, _read(module, settings, file), parts)
    check_base(directory, model, found, _made_for(settings))
    if settings.masks is not None and row is not None:
        _check_places(found, file)
        open_masks(model, settings.masks).row.data.copy_(row)
    for path in [path for path in matrices(model) if path in found]:
        adapter, factors = put_adapter(model, path, found[path].knobs), found[path]
        adapter.down.data.copy_(factors.down)
        adapter.up.data.copy_(factors.up)
    return train_adapters_alone(model)


def _made_for(settings: Settings) -> str:
    return f" It says that it was made for '{settings.base}'." if settings.base else ""


def _family(config: ModelConfig, base: str) -> Family:
    """The family whose names are written: that of the base, where it is a directory, else of the model as it would be saved."""
    path = Path(base) / "config.json"
    if base and path.is_file():
        family = find_family(read_json(path).get("model_type"), str(path))
        if not family.misfits(config):
            return family
    return family_of(config)


def _stored(whole: Mapping[str, Factors]) -> dict[str, Tensor]:
    return {
        f"{PREFIX}{module}{ending}": factor
        for module, factors in whole.items()
        for ending, factor in ((DOWN, factors.down), (UP, factors.up))
    }


def _checked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    otherwise = (
        "so nothing was saved. Training diverged: lower the learning rate, and go on from what was saved before."
    )
    return {name: check_numbers(name, factor, otherwise) for name, factor in stored.items()}


def _settings(whole: Mapping[str, Factors]) -> Settings:
    """The rank and alpha of most modules, and those of the others by name."""
    knobs = {module: factors.knobs for module, factors in whole.items()}
    most = Counter(knobs.values()).most_common(1)[0][0]
    return Settings(
        rank=most.rank,
        alpha=most.alpha,
        dropout=most.dropout,
        is_rank_stabilised=most.is_rank_stabilised,
        ranks={module: own.rank for module, own in knobs.items() if own.rank != most.rank},
        alphas={module: own.alpha for module, own in knobs.items() if own.alpha != most.alpha},
    )


def _shortest(names: AdapterNames, targets: list[Target]) -> list[str]:
    """The last word of modules that all have an adapter where they are called so; else their whole names."""
    chosen = {target.theirs for target in targets}
    last = {module: module.rpartition(".")[2] for module in names.targets}
    mixed = {last[module] for module in names.targets if module not in chosen}
    written = {last[t.theirs] if last[t.theirs] not in mixed else names.written(t) for t in targets}
    return sorted(written)


def _task(config: ModelConfig) -> str | None:
    if config.has_cross:
        return "SEQ_2_SEQ_LM"
    if not config.has_head:
        return "FEATURE_EXTRACTION"
    return "CAUSAL_LM" if config.says_next else None


@contextmanager
def _opened(directory: Path) -> Iterator[File]:
    is_pickle = not (directory / WEIGHTS).exists() and (directory / PICKLE).exists()
    with PickleFile(directory / PICKLE) if is_pickle else TensorFile(directory / WEIGHTS) as file:
        yield file


def _sorted(file: File) -> tuple[list[str], list[str]]:
    """The modules with an A or a B, and the names of all other tensors."""
    modules: dict[str, None] = {}
    others = []
    for name in file.entries:
        ending = next((ending for ending in (DOWN, UP) if name.endswith(ending)), None)
        if name.startswith(PREFIX) and ending:
            modules[name.removeprefix(PREFIX).removesuffix(ending)] = None
        else:
            others.append(name)
    return list(modules), others


def _check(names: AdapterNames, modules: list[str], settings: Settings, file: File) -> None:
    """Compare all that the file holds with the model. Raises one CutawayError for all faults."""
    known = {module: target for module in modules if (target := names.find(module)) is not None}
    twice = [target for target, count in Counter(target.theirs for target in known.values()).items() if count > 1]
    faults = [
        listed("not in it", [module for module in modules if module not in known]),
        listed("there twice", twice),
        listed(
            "of another size", [f for module, target in known.items() for f in _misfits(module, target, settings, file)]
        ),
    ]
    found = " ".join(fault for fault in faults if fault) or ("" if modules else "It holds no lora_A and lora_B.")
    if found:
        raise CutawayError(
            f"{file.path} holds no adapter for this model. {found}{_made_for(settings)} Open the model that it is for."
        )


def _misfits(module: str, target: Target, settings: Settings, file: File) -> Iterator[str]:
    (d_out, d_in), rank = target.size, settings.of(module).rank
    for ending, wanted in ((DOWN, (rank, d_in)), (UP, (d_out, rank))):
        entry = file.entries.get(f"{PREFIX}{module}{ending}")
        if entry is None:
            yield f"{module}{ending} is missing"
        elif entry.shape != wanted or not entry.dtype.is_floating_point:
            yield f"{module}{ending} is {list(entry.shape)} of {entry.dtype} and should be {list(wanted)} of floats"


def _read(module: str, settings: Settings, file: File) -> Factors:
    otherwise = f"in {file.path}. The adapter is damaged, or its training diverged."
    down, up = (
        check_numbers(name, file.read(name), otherwise) for name in (f"{PREFIX}{module}{e}" for e in (DOWN, UP))
    )
    return Factors(settings.of(module), down, up)


def _read_row(config: ModelConfig, file: File) -> Tensor:
    """The mask's vector: [d_model]."""
    entry, width = file.entries.get(ROW), config.main.d_model
    if entry is None or entry.shape != (width,) or not entry.dtype.is_floating_point:
        raise CutawayError(
            f"{file.path} is of adapters at masks, and {ROW}, the mask's vector of {width} numbers, is not in it. Copy the "
            "adapter again, or open the model that it is for."
        )
    return check_numbers(ROW, file.read(ROW), f"in {file.path}. The adapter is damaged, or its training diverged.")


def _check_places(paths: Iterable[str], file: File) -> None:
    if outside := [path for path in paths if ".layers." not in path]:
        raise CutawayError(
            f"{file.path} holds adapters at masks on {', '.join(outside)}. They stand on projections of layers: train it again."
        )


def _check_copies(others: list[str], names: AdapterNames, model: Transformer, file: File) -> None:
    """What else is in the file must repeat the base."""
    if not others:
        return
    if any(base.is_quantised for base in matrices(model).values() if isinstance(base, Projection)):
        raise CutawayError(
            f"{file.path} repeats weights of the base, and those here are rounded, so that the two cannot be compared. Open the "
            "model with bits=32."
        )
    own = Places(model).tensors
    changed = [name for name in others if not _is_copy(name, names, own, file)]
    if changed:
        raise CutawayError(
            f"{file.path} holds more than lora_A and lora_B. {listed('unknown or other than in the model', changed)} Merge it "
            "with PEFT (merge_and_unload), and open the merged model."
        )


def _is_copy(name: str, names: AdapterNames, own: Mapping[str, Any], file: File) -> bool:
    theirs = name.removeprefix(PREFIX).replace(COPY, ".")
    theirs = names.family.copies.get(theirs, theirs) if theirs not in names.tensors else theirs
    entry = names.tensors.get(theirs) or names.tensors.get(names.family.prefix + theirs)
    if entry is None:
        return False
    wanted = join(entry.layout, [own[each].detach() for each in entry.ours])
    return file.entries[name].shape == tuple(wanted.shape) and torch.equal(file.read(name).to(wanted.dtype), wanted)
