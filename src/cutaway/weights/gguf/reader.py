"""One GGUF file -> metadata and tensors. In: a path. Out: a checked header, and tensors read one at a time, piece by piece.

    "GGUF" · version · counts · keys and values · name, shape, kind and place of each tensor · padding · the numbers

The header is checked against the file's size before anything is allocated (the `gguf` package's own reader trusts its counts).
Follows https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from ...errors import CutawayError
from .kinds import KINDS, Kind, decoded
from .values import SHOWN, Cursor, Value, fault

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
USUAL_ALIGNMENT = 32
MOST_AXES = 4  # GGML_MAX_DIMS
PIECE = 2**18  # numbers that are decoded at a time


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header says of a tensor. shape: the outermost axis first, as in torch. begin: its first byte in the file."""

    kind: Kind
    shape: tuple[int, ...]
    begin: int

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds it exactly."""
        return self.kind.dtype

    @property
    def num_numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """The byte behind its last."""
        return self.begin + self.num_numbers // self.kind.block * self.kind.size


class GgufFile:
    """A file whose header was found sound. metadata: by key; entries: of the tensors, by name; place: its path."""

    def __init__(self, path: Path) -> None:
        """Open and check. Raises CutawayError for a missing file or a header that does not fit the file."""
        self.place = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CutawayError(f"Could not open {path}: {error.strerror}.") from error
        try:
            self.metadata, self.entries = _header(Cursor(path, self._file))
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str, dtype: torch.dtype | None = None, scratch: Tensor | None = None) -> Tensor:
        """One tensor in memory of its own, or in the `scratch` given (numbers of that dtype, as many or more).

        dtype: None for the one that holds it exactly. Raises CutawayError if the file was cut since it was opened.
        """
        entry = self.entries[name]
        dtype = dtype or entry.dtype
        numbers = torch.empty(entry.num_numbers, dtype=dtype) if scratch is None else scratch[: entry.num_numbers]
        kind = entry.kind
        raw = torch.empty(min(PIECE, entry.num_numbers) // kind.block * kind.size, dtype=torch.uint8)
        self._file.seek(entry.begin)
        for start in range(0, entry.num_numbers, PIECE):
            piece = numbers[start : start + PIECE]
            part = raw[: len(piece) // kind.block * kind.size]
            if self._file.readinto(part.numpy().data) != len(part):
                raise fault(self.place, f"it ends within the tensor {name}")
            piece.copy_(decoded(part, kind))
        return numbers.view(entry.shape)

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _header(cursor: Cursor) -> tuple[dict[str, Value], dict[str, Entry]]:
    _check_version(cursor)
    num_tensors, num_values = cursor.count("the number of tensors"), cursor.count("the number of keys")
    metadata: dict[str, Value] = {}
    for index in range(num_values):
        key = cursor.text(f"key {index} of {num_values}")
        what = f"the value of {key[:SHOWN]!r}"
        if key in metadata:
            raise fault(cursor.path, f"the key {key[:SHOWN]!r} occurs twice")
        metadata[key] = cursor.value(cursor.number(what), what)
    facts: dict[str, tuple[Kind, tuple[int, ...], int]] = {}
    for index in range(num_tensors):
        name = cursor.text(f"the name of tensor {index} of {num_tensors}")
        if name in facts:
            raise fault(cursor.path, f"the tensor {name[:SHOWN]!r} occurs twice")
        facts[name] = _facts(cursor, name[:SHOWN])
    alignment = _alignment(cursor.path, metadata)
    start = -(-cursor.position // alignment) * alignment
    entries = {name: Entry(kind, shape, start + offset) for name, (kind, shape, offset) in facts.items()}
    _check_extent(cursor, entries, alignment)
    return metadata, entries


def _check_version(cursor: Cursor) -> None:
    magic = cursor.take(len(MAGIC), "its first word")
    if magic != MAGIC:
        raise fault(cursor.path, f"it begins with {magic!r} and not with {MAGIC!r}")
    version = cursor.number("its version")
    if version not in VERSIONS:
        is_swapped = version & 0xFFFF == 0 and version > 0
        what = "it was written for big-endian machines" if is_swapped else f"it has version {version}"
        raise fault(cursor.path, f"{what}, and Cutaway reads versions 2 and 3, little-endian")


def _facts(cursor: Cursor, name: str) -> tuple[Kind, tuple[int, ...], int]:
    """Kind, shape and place (relative to the first tensor) of one tensor."""
    num_axes = cursor.number(f"the shape of {name}")
    if num_axes > MOST_AXES:
        raise fault(cursor.path, f"{name} has {num_axes} axes. At most {MOST_AXES} are allowed")
    shape = tuple(cursor.count(f"the shape of {name}") for _ in range(num_axes))[::-1]
    number, offset = cursor.number(f"the kind of {name}"), cursor.count(f"the place of {name}")
    if number not in KINDS:
        known = ", ".join(kind.name for kind in KINDS.values())
        raise CutawayError(
            f"{cursor.path}: the tensor {name} is stored as kind {number}, which Cutaway does not read. Known kinds: {known}. "
            "Convert the model to one of them."
        )
    kind = KINDS[number]
    if (shape[-1] if shape else 1) % kind.block:
        raise fault(
            cursor.path, f"{name} has rows of {shape[-1] if shape else 1}, and {kind.name} has blocks of {kind.block}"
        )
    return kind, shape, offset


def _alignment(path: Path, metadata: Mapping[str, Value]) -> int:
    value = metadata.get(ALIGNMENT, USUAL_ALIGNMENT)
    if type(value) is not int or value < 1 or value & (value - 1):
        raise fault(path, f"{ALIGNMENT} is {str(value)[:SHOWN]}. It must be a power of two")
    return value


def _check_extent(cursor: Cursor, entries: Mapping[str, Entry], alignment: int) -> None:
    last, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        shown = name[:SHOWN]
        if entry.begin % alignment:
            raise fault(cursor.path, f"{shown} begins at byte {entry.begin}, which is no multiple of {alignment}")
        if entry.begin < last:
            raise fault(cursor.path, f"{shown} begins at byte {entry.begin}, and {before} ends at {last}")
        if entry.end > cursor.size:
            raise fault(cursor.path, f"{shown} ends at byte {entry.end}, and the file has {cursor.size}")
        last, before = entry.end, shown
