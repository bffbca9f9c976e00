"""How much of a text was copied. In: texts, and the training documents. Out: for each text, its longest span found there.

Words are compared without case and punctuation, so that a span counts as copied even when its commas moved.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

SEED = 4  # words: spans shorter than this are not looked for
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
FACTOR = np.uint64(0x9E3779B97F4A7C15)


def longest_copies(texts: Sequence[str], documents: Iterable[str]) -> list[tuple[int, str]]:
    """For each text, how many words its longest span has that occurs in one of the documents, and the span."""
    ids: dict[str, int] = {}
    written = [[ids.setdefault(word, len(ids) + 1) for word in WORD.findall(text.lower())] for text in texts]
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, row in enumerate(written):
        for start, key in enumerate(keys_of(np.array(row, dtype=np.uint64)).tolist()):
            places[key].append((number, start))
    wanted = np.array(list(places), dtype=np.uint64)
    best = [(0, 0) for _ in texts]
    for document in documents:
        read = np.array([ids.get(word, 0) for word in WORD.findall(document.lower())], dtype=np.uint64)
        keys = keys_of(read)
        for begin in np.flatnonzero(np.isin(keys, wanted)).tolist():
            for number, start in places[int(keys[begin])]:
                length = common(written[number][start:], read[begin:])
                best[number] = max(best[number], (length, -start))
    return [(length, span(text, -start, length)) for text, (length, start) in zip(texts, best, strict=True)]


def keys_of(row: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for every SEED words that follow each other."""
    count = max(0, len(row) - SEED + 1)
    keys = np.zeros(count, dtype=np.uint64)
    for offset in range(SEED):
        keys = keys * FACTOR + row[offset : offset + count]
    return keys


def common(one: Sequence[int], other: NDArray[np.uint64]) -> int:
    """How many words two rows share from their start on."""
    length = 0
    for left, right in zip(one, other.tolist(), strict=False):
        if left != right:
            break
        length += 1
    return length


def span(text: str, start: int, length: int) -> str:
    """The words start … start + length of a text, as they stand in it."""
    found = list(WORD.finditer(text.lower()))[start : start + length]
    return text[found[0].start() : found[-1].end()] if found else ""
