"""Vocabularies that people already have -> library tokenizers. In: a file. Out: an `Opened`, or one error.

declared (tokens that stand beside a vocabulary), cuts (how byte-level vocabularies cut) and parts (what every format ends in)
serve all: wordpiece (`vocab.txt`) · bytepairs (`vocab.json` + `merges.txt`) · pieces (SentencePiece's `.model`; behind it
sentencepiece, wire, charsmap, composed and renumber) · ranks (tiktoken's).
"""

from __future__ import annotations

from pathlib import Path

from . import bytepairs, pieces, ranks, wordpiece
from .charsmap import CharsmapError, check_normalizer
from .parts import Opened

__all__ = ["CharsmapError", "Opened", "check_normalizer", "find_vocabulary", "open_vocabulary"]


def find_vocabulary(directory: Path) -> Path | None:
    """The vocabulary file of a directory, or None."""
    pair = (directory / bytepairs.FILE, directory / bytepairs.MERGES_FILE)
    if all(file.is_file() for file in pair):
        return pair[0]
    named = [directory / name for name in (*pieces.FILES, wordpiece.FILE)]
    of_ranks = sorted(directory.glob(f"*{ranks.SUFFIX}"))
    return next((file for file in (*named[:-1], *of_ranks, named[-1]) if file.is_file()), None)


def open_vocabulary(file: Path) -> Opened | None:
    """The tokenizer of a vocabulary file, or None for a name that no format has. Raises CutawayError where that fails."""
    if file.name == bytepairs.FILE:
        return bytepairs.read_byte_pairs(file)
    if file.suffix == ranks.SUFFIX or (file.suffix in pieces.SUFFIXES and file.is_file() and ranks.holds_ranks(file)):
        return ranks.read_tiktoken(file)
    if file.suffix in pieces.SUFFIXES:
        return pieces.read_pieces(file)
    if file.name == wordpiece.FILE:
        return wordpiece.read_wordpiece(file)
    return None
