"""How byte-level vocabularies cut a text before anything merges. In: a cut's name. Out: its pattern, and the components.

The patterns are those of the published encodings, written so that Oniguruma and Rust's regex read them alike. A vocabulary
file does not say which it was made with; what stands beside it, or its size and its special tokens, do.
"""

from __future__ import annotations

from typing import Any, Final

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

_CONTRACTIONS: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORD_START: Final = r"[^\r\n\p{L}\p{N}]?"
CUTS: Final = {
    "r50k_base": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k_base": rf"{_CONTRACTIONS}|{_WORD_START}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",
    "cl100k_base, digit by digit": rf"{_CONTRACTIONS}|{_WORD_START}\p{{L}}+|\p{{N}}|{_REST}",
    "o200k_base": (
        rf"{_WORD_START}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_WORD_START}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


def byte_level(model: models.BPE, pattern: str, *, add_prefix_space: bool = False, composes: bool = False) -> Library:
    """The library tokenizer of a byte-level model. composes: whether the text is brought to Unicode's NFC first.

    Raises the library's exception for a pattern that is no regular expression.
    """
    library = Library(model)
    if composes:
        library.normalizer = normalizers.NFC()
    library.pre_tokenizer = _cutter(pattern, add_prefix_space)
    library.decoder = decoders.ByteLevel()
    return library


def _cutter(pattern: str, add_prefix_space: bool) -> Any:
    if pattern == CUTS["r50k_base"]:  # the library has it built in
        return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)]
    )
