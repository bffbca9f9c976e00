"""SentencePiece's character map, followed before it is trusted. In: its bytes, from a stranger. Out: nothing, or one error.

The map is a double-array trie (darts-clone, after Yata) over UTF-8 keys, whose values point into one string of replacements
that end in NUL. The library that normalises with it believes every number in it, and panics where one
points nowhere.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as Library

Numbers = npt.NDArray[np.int64]
_LETTERS: Final = np.arange(1, 256, dtype=np.int64)
_NODES_AT_ONCE: Final = 4096


class CharsmapError(ValueError):
    """These bytes are no character map."""


def check_charsmap(charsmap: bytes) -> None:
    """Raises CharsmapError for a map in which a node or a value points outside, or that holds what is no UTF-8 text."""
    units, pool = _parts(charsmap)
    try:
        pool.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CharsmapError("its replacements are no UTF-8 text") from error
    is_seen = np.zeros(len(units), dtype=bool)  # nodes are shared between keys, so each is followed once
    places = np.zeros(1, dtype=np.int64)
    while len(places):
        is_seen[places] = True
        bases = _bases(units, places)
        ends = places != 0
        _check_values(units[bases[ends & (units[places] >> 8 & 1 == 1)]] & 0x7FFFFFFF, pool)
        children = _children(units, bases)
        places = children[~is_seen[children]]


def check_normalizer(library: Library) -> None:
    """`check_charsmap` for every map among the normalizers of a library tokenizer."""
    waiting = [] if library.normalizer is None else [json.loads(library.normalizer.__getstate__())]
    while waiting:
        state = waiting.pop()
        waiting += state.get("normalizers", [])
        if state.get("type") == "Precompiled":
            check_charsmap(base64.b64decode(state["precompiled_charsmap"]))


def _parts(charsmap: bytes) -> tuple[Numbers, bytes]:
    """The units of the trie and the pool of replacements."""
    if len(charsmap) < 4:
        raise CharsmapError("it is cut short")
    (size,) = struct.unpack_from("<I", charsmap)
    if size == 0 or size % 4 or size > len(charsmap) - 4:
        raise CharsmapError(f"it promises a trie of {size:,} bytes and has {len(charsmap) - 4:,} in all")
    units = np.frombuffer(charsmap, dtype="<u4", count=size // 4, offset=4).astype(np.int64)
    return units, charsmap[4 + size :]


def _bases(units: Numbers, places: Numbers) -> Numbers:
    """Where the children of the nodes are: at base XOR letter. Any letter may be asked for, so the whole block must exist."""
    bases: Numbers = places ^ ((units[places] >> 10) << ((units[places] & 512) >> 6))
    if int((bases | 255).max()) >= len(units):
        raise CharsmapError("a node points out of its trie")
    return bases


def _children(units: Numbers, bases: Numbers) -> Numbers:
    """The places of all children, each once."""
    found = []
    for start in range(0, len(bases), _NODES_AT_ONCE):
        places = bases[start : start + _NODES_AT_ONCE, None] ^ _LETTERS
        found.append(places[(units[places] & 0x800000FF) == _LETTERS])
    return np.unique(np.concatenate(found))


def _check_values(values: Numbers, pool: bytes) -> None:
    """Every value must be where a character of the pool begins."""
    if not len(values):
        return
    if int(values.max()) >= len(pool):
        raise CharsmapError("a value points out of its replacements")
    if bool((np.frombuffer(pool, dtype=np.uint8)[values] & 0xC0 == 0x80).any()):
        raise CharsmapError("a value points into the middle of a character")
