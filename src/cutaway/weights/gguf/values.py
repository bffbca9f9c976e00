"""The values of a GGUF header, one after the other. In: an open file. Out: numbers, texts and lists, each checked beforehand.

Nothing is allocated that the rest of the file could not fill: a text that claims 2^60 bytes is refused by its length alone.
Numbers of lists stay packed, as arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import CutawayError

Value = int | float | bool | str | list[str] | np.ndarray

MOST_HEADER_BYTES = 256_000_000  # the largest vocabularies take a tenth of it
TEXT, LIST, BOOL, F32 = 8, 9, 7, 6
SCALARS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    F32: "<f4",
    BOOL: "u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
SHOWN = 80


def fault(path: Path, what: str) -> CutawayError:
    """The message for a file that is broken."""
    return CutawayError(f"{path} is not a whole GGUF file: {what}. Copy or download it again.")


class Cursor:
    """Reads a header from its begin. position: the byte that comes next."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.position = path, 0
        self.size = path.stat().st_size
        self._file = file

    def take(self, count: int, what: str) -> bytes:
        """The next bytes. Raises CutawayError where the file or the longest header ends before."""
        if count > self.size - self.position:
            raise fault(self.path, f"{what} should take {count} bytes, and {self.size - self.position} are left")
        if count > MOST_HEADER_BYTES - self.position:
            raise fault(self.path, f"its header is longer than {MOST_HEADER_BYTES} bytes at {what}")
        raw = self._file.read(count)
        if len(raw) != count:
            raise fault(self.path, f"it was cut within {what}")
        self.position += count
        return raw

    def count(self, what: str) -> int:
        """A length or count, in 8 bytes."""
        return int.from_bytes(self.take(8, what), "little")

    def number(self, what: str) -> int:
        """A type or version, in 4 bytes."""
        return int.from_bytes(self.take(4, what), "little")

    def text(self, what: str) -> str:
        """A text: its length, then UTF-8."""
        raw = self.take(self.count(what), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fault(self.path, f"{what} is not UTF-8 ({raw[:SHOWN]!r})") from error

    def value(self, kind: int, what: str) -> Value:
        """A value of the type with this number."""
        if kind == TEXT:
            return self.text(what)
        if kind == LIST:
            return self._list(what)
        return self._scalar(kind, what)

    def _scalar(self, kind: int, what: str) -> int | float | bool:
        layout = np.dtype(self._layout(kind, what))
        value = np.frombuffer(self.take(layout.itemsize, what), layout)[0]
        if kind == BOOL:
            return bool(value)
        # The shortest decimal that gives the number: 1e-05, as it was meant, not 9.99999974e-06.
        return float(str(value)) if kind == F32 else value.item()

    def _list(self, what: str) -> list[str] | np.ndarray:
        kind, count = self.number(what), self.count(what)
        if kind == TEXT:
            self._check_room(8 * count, what)
            return [self.text(what) for _ in range(count)]
        if kind == LIST:
            raise fault(self.path, f"{what} is a list of lists, which no tool writes")
        layout = np.dtype(self._layout(kind, what))
        return np.frombuffer(self.take(layout.itemsize * count, what), layout)

    def _check_room(self, count: int, what: str) -> None:
        if count > self.size - self.position:
            raise fault(self.path, f"{what} should take {count} bytes, and {self.size - self.position} are left")

    def _layout(self, kind: int, what: str) -> str:
        if kind not in SCALARS:
            raise fault(self.path, f"{what} has the type {kind}. Types are 0 to 12")
        return SCALARS[kind]
