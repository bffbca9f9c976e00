"""GPT-2's byte alphabet: every byte is written as one printable character, so that a vocabulary file can be read.

In: bytes. Out: their spelling, and back. Follows `bytes_to_unicode` of Radford et al. 2019: a printable Latin-1 byte stands
for itself, the other 68 for the characters from U+0100 on (a space is Ġ, a line feed Ċ).
"""

from __future__ import annotations

from typing import Final


def spelled(data: bytes) -> str:
    """The spelling of `data` in a byte-level vocabulary: b" cat" -> "Ġcat"."""
    return "".join(CHARACTERS[byte] for byte in data)


def unspelled(spelling: str) -> bytes:
    """The bytes that a spelling stands for. One with a character outside the alphabet is an added token: its own UTF-8."""
    if all(character in _BYTES for character in spelling):
        return bytes(_BYTES[character] for character in spelling)
    return spelling.encode()


def _characters() -> tuple[str, ...]:
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


CHARACTERS: Final = _characters()
_BYTES: Final = {character: byte for byte, character in enumerate(CHARACTERS)}
