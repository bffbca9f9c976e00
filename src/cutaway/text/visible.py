"""Text or bytes -> what a person sees of it in a terminal. In: a string, or the bytes of a token. Out: one visible line.

Nothing is guessed and nothing is lost: a space is ␣, a line feed ↵, a tab ⇥; whatever cannot be seen (controls, invisible
formatting, part of a UTF-8 character) is the hexadecimal of its bytes, `<e2>`. What already looks like one of these marks
is written in hexadecimal too, so that two different byte strings never look the same.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_MARKS: Final = {" ": "␣", "\n": "↵", "\t": "⇥"}
_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
# One character, or a "<" that begins what would read as a byte in hexadecimal.
_UNIT: Final = re.compile(r"<(?=[0-9a-f]{2}>)|(.)", re.DOTALL)


def visible(text: str | bytes) -> str:
    """How `text` is shown: itself where it can be seen, a mark for white space, `<e2>` for every other byte.

    Bytes that are not UTF-8 are shown one by one. Two inputs share a form only if one is the UTF-8 of the other.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return _UNIT.sub(lambda unit: _seen(unit[1]) if unit[1] else _hexadecimal("<"), text)


def printable(text: str) -> str:
    """What a terminal may be given of a model's text: line feeds and tabs stay, and what it would obey becomes U+FFFD."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _seen(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if character in _MARKS.values() or unicodedata.category(character) in _UNSEEN_CATEGORIES:
        return _hexadecimal(character)
    return character


def _hexadecimal(character: str) -> str:
    """The bytes of a character; an escaped single byte (U+DC80 … U+DCFF) is that byte, other surrogates their three."""
    is_escaped_byte = "\udc80" <= character <= "\udcff"
    data = character.encode("utf-8", "surrogateescape" if is_escaped_byte else "surrogatepass")
    return "".join(f"<{byte:02x}>" for byte in data)
