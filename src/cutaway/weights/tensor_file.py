"""One safetensors file <-> tensors. In: a path. Out: a checked header, and tensors read one at a time into memory of their own.

    8 bytes: n, little-endian · n bytes: JSON {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}} · the numbers

The header is checked against the file's size before anything is allocated, so that a cut or hostile file ends in one message.
Tensors are read, not mapped: a mapped page costs memory beside its copy, and the process if another program cuts the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CutawayError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
MOST_HEADER_BYTES = 100_000_000  # as in the safetensors library
MOST_AXES = 16
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header says of a tensor. begin, end: its bytes in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def num_bytes(self) -> int:
        """How many bytes it takes."""
        return self.end - self.begin


class TensorFile:
    """A file whose header was found sound. entries: by name; metadata: the file's own notes."""

    def __init__(self, path: Path) -> None:
        """Open and check. Raises CutawayError for a missing file or a header that does not fit the file."""
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CutawayError(f"Could not open {path}: {error.strerror}.") from error
        try:
            self.entries, self.metadata = self._header()
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str, scratch: Tensor | None = None) -> Tensor:
        """One tensor as it is stored, in memory of its own, or in the `scratch` given (bytes, as many as it needs or more).

        Raises CutawayError if the file was cut since it was opened.
        """
        entry = self.entries[name]
        raw = torch.empty(entry.num_bytes, dtype=torch.uint8) if scratch is None else scratch[: entry.num_bytes]
        self._file.seek(entry.begin)
        if self._file.readinto(raw.numpy().data) != len(raw):
            raise self._fault(f"it ends within the tensor {name}")
        return raw.view(entry.dtype).view(entry.shape)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _header(self) -> tuple[dict[str, Entry], dict[str, str]]:
        size = self.path.stat().st_size
        length = int.from_bytes(self._file.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise self._fault(f"its header should take {length} bytes, and the whole file has {size}")
        header = self._parse(self._file.read(length))
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise self._fault("its metadata are not texts by name")
        entries = {name: self._entry(name, facts, 8 + length) for name, facts in header.items()}
        self._check_extent(entries, 8 + length, size)
        return entries, metadata

    def _parse(self, raw: bytes) -> dict[str, Any]:
        try:
            header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise self._fault(f"its header is not JSON ({str(error)[:80]})") from error
        if not isinstance(header, dict):
            raise self._fault("its header is not a table of tensors")
        return header

    def _entry(self, name: str, facts: object, start: int) -> Entry:
        if not isinstance(facts, dict) or facts.keys() != {"dtype", "shape", "data_offsets"}:
            raise self._fault(f"its header says something else of {name} than dtype, shape and data_offsets")
        dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise self._fault(f"{name} has the type {dtype!r}. Known types: {', '.join(DTYPES)}")
        if not _are_counts(shape) or len(shape) > MOST_AXES or not _are_counts(offsets) or len(offsets) != 2:
            raise self._fault(f"the shape or place of {name} is not a short list of whole numbers")
        begin, end = offsets
        needed = math.prod(shape) * DTYPES[dtype].itemsize
        if end - begin != needed:
            raise self._fault(f"{name} has {end - begin} bytes, and its shape {shape} of {dtype} needs {needed}")
        return Entry(DTYPES[dtype], tuple(shape), start + begin, start + end)

    def _check_extent(self, entries: Mapping[str, Entry], start: int, size: int) -> None:
        at = start
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin != at:
                raise self._fault(f"{name} begins at byte {entry.begin}, and the tensor before it ends at {at}")
            at = entry.end
        if at != size:
            raise self._fault(f"its tensors end at byte {at}, and the file has {size}")

    def _fault(self, what: str) -> CutawayError:
        return CutawayError(f"{self.path} is not a whole safetensors file: {what}. Copy or save it again.")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file; tensors may be views, share memory and live on any device. Raises OSError if the system refuses."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        is_whole = own.untyped_storage().nbytes() == own.nbytes and own.data_ptr() not in seen
        apart[name] = own if is_whole else own.clone()
        seen.add(own.data_ptr())
    path.touch()
    mode = path.stat().st_mode  # the library makes files that only their owner may read
    try:
        save_file(apart, path, {**metadata, "format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table
