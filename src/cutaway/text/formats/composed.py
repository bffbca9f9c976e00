"""SentencePiece's NFKC maps -> normalizers. In: such a map. Out: steps of the `tokenizers` library that give what it gives.

SentencePiece replaces the longest key at each place. The library maps a whole grapheme by its shortest key and drops the rest
of it (e + ˆ + ´ becomes ê). The keys of these maps that are longer than a character are compositions, so Unicode's NFC stands in
for them, and every mark is set apart while the map is at work. NFC alone would do too much: it also composes with what is
composed already, and it sorts marks; both are kept from it by a noncharacter between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final
from unicodedata import ucd_3_2_0 as unicode

from tokenizers import Regex, normalizers

# Noncharacters: no text holds them, and no map knows them.
_KEPT, _BREAK = "\ufdd1", "\ufdd2"
_LAST_WITH_MARKS: Final = 0x1FFFF
_HANGUL: Final = range(0xAC00, 0xD7A4)
_AFTER_SYLLABLE: Final = r"(?<=[\x{AC00}-\x{D7A3}])(?=[\x{11A8}-\x{11C2}])"
# What joins the grapheme before it: marks, joiners and variation selectors, skin colours, four letters that count as marks,
# and a line feed after a carriage return.
_JOINS_GRAPHEME: Final = r"(?<=[\s\S])(?=[\p{M}\p{Cf}\p{Sk}\x{E33}\x{EB3}\x{FF9E}\x{FF9F}])|(?<=\r)(?=\n)"


def nfkc(charsmap: bytes) -> list[Any]:
    """The normalizers, in order. charsmap: one that was checked."""
    return [
        normalizers.Replace(Regex(_uncomposed()), _KEPT),
        normalizers.NFC(),
        normalizers.Replace(Regex(_JOINS_GRAPHEME), _BREAK),
        normalizers.Precompiled(charsmap),
        normalizers.Replace(_BREAK, ""),
        normalizers.NFC(),
        normalizers.Replace(_KEPT, ""),
    ]


@cache
def _uncomposed() -> str:
    """Where NFC would do what SentencePiece does not: a mark or final consonant after what is composed, a mark after one of a
    higher class.

    By the tables of Unicode 3.2, which are the same in every Python, so that a saved tokenizer is too.
    """
    classes = {code: unicode.combining(chr(code)) for code in range(_LAST_WITH_MARKS)}
    marks = {code: number for code, number in classes.items() if number}
    composed = [
        code
        for code in range(0xC0, _LAST_WITH_MARKS)
        if code not in _HANGUL and code not in marks and _is_several(chr(code))
    ]
    after_composed = f"(?<=[{_ranges(composed)}])"
    after_higher = [
        f"(?<=[{_ranges(code for code, other in marks.items() if other > number)}])"
        f"(?=[{_ranges(code for code, other in marks.items() if other == number)}])"
        for number in sorted(set(marks.values()))[:-1]
    ]
    return rf"{_AFTER_SYLLABLE}|(?=\p{{M}})(?:{'|'.join([after_composed, *after_higher])})"


def _is_several(character: str) -> bool:
    """Whether it is composed of several characters, or stands for several."""
    return len(unicode.normalize("NFD", character)) > 1 or len(unicode.normalize("NFKC", character)) > 1


def _ranges(codes: Iterable[int]) -> str:
    """The inside of a character class."""
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"\\x{{{first:X}}}" + (f"-\\x{{{last:X}}}" if last > first else "") for first, last in found)
