"""All tensors of a checkpoint directory. In: a directory. Out: names, shapes and tensors, whichever file they lie in.

A directory holds `model.safetensors`, or several files and `model.safetensors.index.json`, {"weight_map": {tensor: file}}.
Pickle files are never opened: opening one can run code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import Tensor

from ..errors import CutawayError
from .files import read_json
from .tensor_file import Entry, TensorFile

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


class Shards:
    """The tensors of a directory, by name. place: the file to name in messages."""

    def __init__(self, place: Path, files: Mapping[str, TensorFile]) -> None:
        """files: the file that holds each tensor."""
        self.place = place
        self._files = files
        self.entries: dict[str, Entry] = {name: file.entries[name] for name, file in files.items()}

    def read(self, name: str, scratch: Tensor | None = None) -> Tensor:
        """One tensor as it is stored, in memory of its own, or in the bytes given."""
        return self._files[name].read(name, scratch)

    def metadata(self) -> dict[str, str]:
        """The notes of all files."""
        return {key: text for file in set(self._files.values()) for key, text in file.metadata.items()}


@contextmanager
def open_shards(directory: Path) -> Iterator[Shards]:
    """The tensors of a directory, open within the block. Raises CutawayError where there are none, or a file is broken."""
    with ExitStack() as stack:
        single = directory / WEIGHTS
        if single.exists():
            file = stack.enter_context(TensorFile(single))
            yield Shards(single, dict.fromkeys(file.entries, file))
        elif (directory / INDEX).exists():
            yield _indexed(directory, stack)
        else:
            raise _without_weights(directory)


def _indexed(directory: Path, stack: ExitStack) -> Shards:
    index = directory / INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CutawayError(f"{index} has no weight_map from tensor names to file names. Copy or save it again.")
    files: dict[str, TensorFile] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CutawayError(f"{index} names the file {name!r}. Only .safetensors files beside it are opened.")
        files[name] = stack.enter_context(TensorFile(directory / name))
    for tensor, name in weight_map.items():
        if tensor not in files[name].entries:
            raise CutawayError(f"{index} says that {name} holds {tensor}, but it does not. Copy or save both again.")
    return Shards(index, {tensor: files[name] for tensor, name in weight_map.items()})


def _without_weights(directory: Path) -> CutawayError:
    pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickles:
        return CutawayError(
            f"{directory} holds {pickles[0]}, a pickle file, and opening a pickle can run code. Cutaway reads {WEIGHTS}: "
            "load the model once with transformers, in a place that you trust, and save it with save_pretrained."
        )
    return CutawayError(f"{directory} holds no weights. A checkpoint has config.json and {WEIGHTS} (or {INDEX}).")
