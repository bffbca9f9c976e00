"""All tensors of a checkpoint directory. In: a directory. Out: names, shapes and tensors, whichever file they lie in.

A directory holds `model.safetensors`, or several files and `model.safetensors.index.json`, {"weight_map": {tensor: file}}; or,
where there is neither, the same as pickles: `pytorch_model.bin`, read with weights-only loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import CutawayError
from .files import read_json
from .pickle_file import PickleFile
from .tensor_file import Entry, TensorFile

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
OTHER_PICKLES = ("*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class Form:
    """How files of weights are named. suffix: of every file that an index may name; reader: what opens one."""

    single: str
    index: str
    suffix: str
    reader: Callable[[Path], TensorFile | PickleFile]


FORMS = (
    Form(WEIGHTS, INDEX, ".safetensors", TensorFile),
    Form("pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", PickleFile),
)


class Shards:
    """The tensors of a directory, by name. place: the file to name in messages."""

    def __init__(self, place: Path, files: Mapping[str, TensorFile | PickleFile]) -> None:
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
        for form in FORMS:
            single = directory / form.single
            if single.exists():
                file = _opened(form, single, stack)
                yield Shards(single, dict.fromkeys(file.entries, file))
                return
            if (directory / form.index).exists():
                yield _indexed(directory / form.index, form, stack)
                return
        raise _without_weights(directory)


def _indexed(index: Path, form: Form, stack: ExitStack) -> Shards:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CutawayError(f"{index} has no weight_map from tensor names to file names. Copy or save it again.")
    files: dict[str, TensorFile | PickleFile] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or not name.endswith(form.suffix):
            raise CutawayError(f"{index} names the file {name!r}. Only {form.suffix} files beside it are opened.")
        files[name] = _opened(form, index.with_name(name), stack)
    for tensor, name in weight_map.items():
        if tensor not in files[name].entries:
            raise CutawayError(f"{index} says that {name} holds {tensor}, but it does not. Copy or save both again.")
    return Shards(index, {tensor: files[name] for tensor, name in weight_map.items()})


def _opened(form: Form, path: Path, stack: ExitStack) -> TensorFile | PickleFile:
    file = form.reader(path)
    stack.push(file.__exit__)
    return file


def _without_weights(directory: Path) -> CutawayError:
    pickles = sorted(path.name for pattern in OTHER_PICKLES for path in directory.glob(pattern))
    if pickles:
        return CutawayError(
            f"{directory} holds {pickles[0]}, a pickle file of its own kind. Cutaway reads {WEIGHTS} and {FORMS[1].single}: "
            "load the model once with what wrote it, in a place that you trust, and save it with save_pretrained."
        )
    return CutawayError(f"{directory} holds no weights. A checkpoint has config.json and {WEIGHTS} (or {INDEX}).")
