"""Words that must be one token of a trained byte-pair vocabulary. In: merges, words, a size. Out: merges that keep them.

What the trained merges make of a word is joined by merges of the lowest priority, put behind all others: they apply only
where nothing else does, so no other merge changes, and no weighting of the training text is needed. The rarest trained
merges make room. That a word ends as one token follows: its last merges rank behind everything that led to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CutawayError
from .alphabet import CHARACTERS
from .merges import Pair, merged


def keep_whole(merges: Sequence[Pair], pieces: Sequence[str], room: int) -> list[Pair]:
    """The merges, the last ones replaced as needed, so that each of `pieces` merges into one symbol.

    merges: in the order of their rank. pieces: spelled in the byte alphabet. room: the most tokens, bytes included.
    Raises CutawayError where the room is too small for the pieces alone.
    """
    num_trained = len(merges)
    while True:
        kept = [*merges[:num_trained], *_joining(merges[:num_trained], pieces)]
        excess = len(vocabulary_of(kept)) - room
        if excess <= 0:
            return kept
        if num_trained == 0:
            raise CutawayError(
                f"keep_words need {len(vocabulary_of(kept))} tokens with the 256 bytes, and vocab_size leaves room for {room}. "
                "Give a larger vocab_size or fewer words."
            )
        num_trained = max(0, num_trained - excess)


def vocabulary_of(merges: Sequence[Pair]) -> dict[str, int]:
    """Spelling -> id: the 256 bytes in the order of their characters (as in GPT-2), then what each merge makes."""
    symbols = dict.fromkeys([*sorted(CHARACTERS), *("".join(pair) for pair in merges)])
    return {symbol: token_id for token_id, symbol in enumerate(symbols)}


def _joining(merges: Sequence[Pair], pieces: Sequence[str]) -> list[Pair]:
    """The merges to put behind `merges`, from left to right in each piece that they leave in parts."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for piece in pieces:
        symbols = merged(piece, ranks)
        while len(symbols) > 1:
            ranks[symbols[0], symbols[1]] = len(ranks)
            symbols = merged(symbols, ranks)
    return list(ranks)[len(merges) :]
