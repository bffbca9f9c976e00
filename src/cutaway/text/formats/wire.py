"""Protocol buffers' wire format -> fields. In: the bytes of one message. Out: (number, value) of each field, in order.

https://protobuf.dev/programming-guides/encoding: enough of it to read SentencePiece's models, which need no library then and
no generated code. A length is believed only as far as the bytes go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

Value = int | float | memoryview
_LONGEST_VARINT: Final = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """These bytes are no message."""


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message: a varint as an int, 4 and 8 bytes as a float, and bytes, strings and messages as a view.

    Raises WireError for what is cut short or has no such form.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
        elif kind in (_FIXED32, _FIXED64):
            form, size = ("<f", 4) if kind == _FIXED32 else ("<d", 8)
            yield key >> 3, struct.unpack(form, _part(message, position, size))[0]
            position += size
        elif kind == _BYTES:
            length, position = _varint(message, position)
            yield key >> 3, _part(message, position, length)
            position += length
        else:
            raise WireError(f"byte {position - 1:,} begins a field of the unknown form {kind}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and where the next field begins."""
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, position + index + 1
    raise WireError(f"a number at byte {position:,} does not end")


def _part(message: memoryview, position: int, length: int) -> memoryview:
    if length > len(message) - position:
        raise WireError(f"byte {position:,} promises {length:,} bytes and {len(message) - position:,} follow")
    return message[position : position + length]
