"""A checkpoint directory <-> a model. In: a path. Out: a model whose every number came from the file, and the other way round.

    config.json · model.safetensors · the tokenizer's files · what a training run adds · complete.json (see atomic)

Saving picks the family that holds the config, so that other tools open it; else our own form. Opening compares the header with
the shapes that config.json asks for (a model built without numbers) before any tensor is read, and reads each tensor once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Transformer
from .atomic import write_directory
from .check import check_names, check_numbers, check_size
from .families import Family, family_of, find_family
from .files import read_json
from .layout import join, split, stored_shape
from .names import Mapped, expand
from .places import HALVES, Places, Watcher, settle_tables
from .settle import settle_knobs, settle_names
from .shards import WEIGHTS, Shards, open_shards
from .tensor_file import write_tensors

CONFIG = "config.json"
DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}

Extra = Mapping[str, bytes] | Callable[[Path], None] | None


def save(
    directory: Path,
    model: Transformer,
    *,
    tokenizer_files: Extra = None,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write or replace a checkpoint, whole or not at all.

    tokenizer_files: the bytes of further files by name, or what writes them into the directory that it is given. dtype: how
    the weights are stored: float32, float16 or bfloat16. metadata: notes in the header of the weights.
    Raises CutawayError for weights that are not finite, and if the system refuses; an old checkpoint then stands.
    """

    def writer(temporary: Path) -> None:
        write_model(temporary, model, dtype=dtype, metadata=metadata)
        if callable(tokenizer_files):
            tokenizer_files(temporary)
        elif tokenizer_files:
            for name, content in tokenizer_files.items():
                (temporary / name).write_bytes(content)

    write_directory(Path(directory), writer)


def write_model(
    directory: Path,
    model: Transformer,
    *,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write config.json and the weights into a directory, neither atomic nor synced: for a writer of `write_directory`."""
    if dtype not in DTYPES:
        raise CutawayError(f"Weights cannot be saved as {dtype}. Allowed: {', '.join(DTYPES.values())}.")
    family, ours = family_of(model.config), Places(model).tensors
    otherwise = (
        f"as {DTYPES[dtype]}, so nothing was saved. Training diverged (lower the learning rate and go on from the last good "
        "checkpoint), or the numbers are too large for this type (save as float32 or bfloat16)."
    )
    has_ends = model.config.has_head or model.config.num_labels > 0
    stored = {}
    for mapped in expand(family.rules(model.config), ours):
        if family.is_derived(mapped.theirs):
            continue
        tensor = join(mapped.layout, [ours[name].detach() for name in mapped.ours]).to(dtype)
        name = mapped.theirs.removeprefix("" if has_ends else family.prefix)
        stored[name] = check_numbers(name, tensor, otherwise)
    write_tensors(directory / WEIGHTS, stored, metadata or {})
    described = {**family.to_json(model.config), "dtype": DTYPES[dtype], "torch_dtype": DTYPES[dtype]}
    (directory / CONFIG).write_text(json.dumps(described, indent=2) + "\n", "utf-8")


def read_config(directory: Path) -> ModelConfig:
    """The config of a checkpoint, from config.json alone. Raises CutawayError for one that is missing, broken or unknown."""
    return _described(Path(directory))[1]


def read_metadata(directory: Path) -> dict[str, str]:
    """The notes in the header of the weights."""
    with open_shards(Path(directory)) as shards:
        return shards.metadata()


def load(directory: Path, dtype: torch.dtype = torch.float32, watcher: Watcher | None = None) -> Transformer:
    """The model of a checkpoint, every parameter in `dtype`, ready to run or to train on. watcher: see `Watcher`.

    What config.json leaves open, the tensors say (see settle). A table of positions is what the file holds: where config.json
    promises sinusoids and the file's table is another (it was trained on elsewhere, say), the table counts, and the model's
    positions are then `learned`. Raises CutawayError, naming the file and the fault, for a checkpoint that is missing, cut, of
    an unknown family, or whose tensors are missing, too many, misshapen or not finite.
    """
    directory = Path(directory)
    family, config = _described(directory)
    with open_shards(directory) as shards:
        config = settle_knobs(family, config, shards)
        check_size(config, shards)
        model, mapped = _planned(family, config, shards)
        settled = settle_tables(model, lambda name: _read(mapped, name, shards))
        if settled != config:
            model, mapped = _planned(family, settled, shards)
        _fill(model, mapped, shards, dtype, watcher)
    return model.eval()


def _described(directory: Path) -> tuple[Family, ModelConfig]:
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise CutawayError(f"{directory} {what}. A checkpoint is a directory with {CONFIG} and {WEIGHTS}.")
    path = directory / CONFIG
    if not path.exists():
        raise CutawayError(f"{directory} has no {CONFIG}, so it is not a checkpoint. It needs {CONFIG} and {WEIGHTS}.")
    data = read_json(path)
    family = find_family(data.get("model_type"), str(path))
    return family, family.from_json(data, str(path))


def _planned(family: Family, config: ModelConfig, shards: Shards) -> tuple[Transformer, list[Mapped]]:
    """A model without numbers, and where each comes from: names as in the file, all there and of the right shape."""
    with torch.device("meta"):
        model = Transformer(config)
    ours = Places(model).tensors
    mapped = settle_names(family, expand(family.rules(config), ours), shards)
    shapes = {
        entry.theirs: stored_shape(entry.layout, [tuple(ours[name].shape) for name in entry.ours]) for entry in mapped
    }
    check_names(family, shapes, shards)
    return model, mapped


def _read(mapped: list[Mapped], name: str, shards: Shards) -> Tensor | None:
    """The stored tensor that is ours under `name` alone, as it is; None where the file leaves it out."""
    return next((shards.read(entry.theirs) for entry in mapped if entry.ours == (name,)), None)


def _fill(
    model: Transformer, mapped: list[Mapped], shards: Shards, dtype: torch.dtype, watcher: Watcher | None
) -> None:
    places, told = Places(model), watcher and watcher(model)
    otherwise = f"in {shards.place} (read as {dtype}). The weights are damaged, or too large for this type."
    dtypes = {entry.theirs: places.dtype(entry.ours[0], dtype) for entry in mapped}
    if told:
        stored_types = {
            entry.theirs: shards.entries[entry.theirs].dtype for entry in mapped if places.are_matrices(entry.ours)
        }
        dtypes |= {name: kind for name, kind in stored_types.items() if kind in HALVES}
    copied = {
        entry.theirs for entry in mapped if entry.layout or shards.entries[entry.theirs].dtype != dtypes[entry.theirs]
    }
    reading = _read_ahead([entry.theirs for entry in mapped], copied, shards)
    for entry, stored in zip(mapped, reading, strict=True):
        is_copied = entry.theirs in copied
        parts = split(entry.layout, stored, [tuple(places.tensors[name].shape) for name in entry.ours])
        for name, part in zip(entry.ours, parts, strict=True):
            put = places.put(name, part, dtypes[entry.theirs], is_borrowed=is_copied)
            check_numbers(entry.theirs, put, otherwise)
        if told:
            places.tell(entry.ours, dtype, told)


def _read_ahead(names: Sequence[str], copied: Collection[str], shards: Shards) -> Iterator[Tensor]:
    """The stored tensors in this order, each read by a thread of its own while what is done with the one before it goes on.

    copied: which are copied before the next one is asked for. They pass through two buffers by turns: fresh memory for each
    would leave holes in the heap.
    """
    sizes = [shards.entries[name].num_bytes for name in names]
    most = max((size for name, size in zip(names, sizes, strict=True) if name in copied), default=0)
    buffers = [torch.empty(most, dtype=torch.uint8) for _ in range(2)]

    def begin(number: int) -> Future[Tensor]:
        is_copied = names[number] in copied
        return pool.submit(
            shards.read,
            names[number],
            buffers[number % 2] if is_copied else torch.empty(sizes[number], dtype=torch.uint8),
        )

    with ThreadPoolExecutor(1) as pool:
        waiting = [begin(0)] if names else []
        for number in range(len(names)):
            stored = waiting.pop().result()
            if number + 1 < len(names):
                waiting.append(begin(number + 1))
            yield stored
