"""Byte-pair encoding of one piece, merge by merge. In: symbols and the ranks of the merges. Out: each step, in order.

Sennrich et al. 2016: again and again, the adjacent pair of the lowest rank (the leftmost of equal ones) becomes one symbol.
The library does the same at speed; this is the readable twin that explains it and that training reasons with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Pair = tuple[str, str]


class MergeStep(NamedTuple):
    """One merge: the rank of its pair, the pair, and all symbols after it."""

    rank: int
    pair: Pair
    symbols: tuple[str, ...]


def merge_steps(symbols: Sequence[str], ranks: Mapping[Pair, int]) -> Iterator[MergeStep]:
    """The merges that apply to `symbols`, in the order in which they apply."""
    current = tuple(symbols)
    while True:
        places = [(ranks[pair], index) for index, pair in enumerate(pairwise(current)) if pair in ranks]
        if not places:
            return
        rank, index = min(places)
        pair = (current[index], current[index + 1])
        current = (*current[:index], "".join(pair), *current[index + 2 :])
        yield MergeStep(rank, pair, current)


def merged(symbols: Sequence[str], ranks: Mapping[Pair, int]) -> tuple[str, ...]:
    """The symbols that are left when no merge applies any more."""
    current = tuple(symbols)
    for step in merge_steps(symbols, ranks):
        current = step.symbols
    return current


def read_ranks(tokenizer_json: str) -> dict[Pair, int]:
    """Pair -> rank from a `tokenizer.json` as the library writes it; empty for a model without merges."""
    merges = json.loads(tokenizer_json)["model"].get("merges", [])
    return {(left, right): rank for rank, (left, right) in enumerate(merges)}
