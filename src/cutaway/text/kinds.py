"""The four kinds of tokenizer: how each cuts text into pieces and joins tokens to text, and how a loaded one is recognised.

In: nothing, or a tokenizer of the `tokenizers` library. Out: its pre-tokenizer and decoder, its kind.
- character: every character (code point) is a piece and a token.
- word: a run of letters, digits, marks and underscores (with inner apostrophes: don't) is a piece; every other character,
  white space included, is a piece of its own. The pieces joined are the text, so a known text comes back exactly.
- byte: the whole text is one piece, each of its UTF-8 bytes a token, and the byte is the id.
- bpe: byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): every digit is a piece, the rest is cut by
  GPT-2's pattern (a word with the one space before it), and merges join bytes within a piece. No normalizer, no space is
  added. This cut is the one of StarCoder and SmolLM, so that other tools know it. Or a piece is a sentence, so that words which
  go together become one token (Liu et al. 2025, arXiv:2503.13423): where few sentences are said, texts are far shorter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

from tokenizers import Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as Library

from ..errors import CutawayError, near

Kind = Literal["character", "word", "byte", "bpe"]
KINDS: Final = get_args(Kind)
Merges = Literal["words", "sentences"]
MERGES: Final = get_args(Merges)

_CHARACTER_PATTERN: Final = r"[\s\S]"
_WORD_PATTERN: Final = r"\w+(?:['’]\w+)*|\W"
_SENTENCE_PATTERN: Final = r"[^.!?\n]+[.!?]*|[.!?]+|\n+"
# No piece of any kind above reaches from a visible ASCII character into the space after it.
_SAFE_BORDER: Final = re.compile(r"(?<=[!-~])(?= )")
_MAX_PART_LENGTH: Final = 65_536


def check_kind(kind: str) -> Kind:
    """`kind` itself. Raises CutawayError for a name that is none of KINDS."""
    for known in KINDS:
        if kind == known:
            return known
    raise CutawayError(f"Unknown kind of tokenizer '{kind}'.{near(kind, KINDS)}")


def pre_tokenizer_of(kind: Kind, merges: Merges = "words") -> Any:
    """The `tokenizers` pre-tokenizer that cuts text into pieces. merges: what those of bpe stay within."""
    if kind == "character":
        return pre_tokenizers.Split(Regex(_CHARACTER_PATTERN), "isolated")
    if kind == "word":
        return pre_tokenizers.Split(Regex(_WORD_PATTERN), "isolated")
    if kind == "byte":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if merges == "sentences":
        split = pre_tokenizers.Split(Regex(_SENTENCE_PATTERN), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def decoder_of(kind: Kind) -> Any:
    """The `tokenizers` decoder that joins tokens to text."""
    return decoders.ByteLevel() if kind in ("byte", "bpe") else decoders.Fuse()


def kind_of(library: Library) -> str:
    """One of KINDS where the tokenizer works as that kind does, else the library's name of its model ("Unigram" …).

    Every byte-level BPE is "bpe", however it cuts text into pieces.
    """
    model = type(library.model).__name__
    if model == "BPE" and is_byte_level(library):
        if _cuts_as(library, "byte") and library.get_vocab_size(with_added_tokens=False) == 256:
            return "byte"
        has_affixes = library.model.continuing_subword_prefix or library.model.end_of_word_suffix
        return model if has_affixes else "bpe"
    if model == "WordLevel":
        return next((kind for kind in ("character", "word") if _cuts_as(library, kind)), model)
    return model


def is_byte_level(library: Library) -> bool:
    """Whether a token's spelling stands for bytes, one character of GPT-2's alphabet for each."""
    state = _state(library.decoder)
    parts = state.get("decoders", [state])
    return {"ByteLevel"} <= {part.get("type") for part in parts} <= {"ByteLevel", "Fuse"}


def has_byte_fallback(library: Library) -> bool:
    """Whether tokens such as `<0xE2>` stand for single bytes among tokens that stand for text (SentencePiece)."""
    state = _state(library.decoder)
    return any(part.get("type") == "ByteFallback" for part in state.get("decoders", [state]))


def may_be_parted(library: Library) -> bool:
    """Whether `parts` of a text, encoded one by one, give the ids of the whole: true of the four kinds as trained here."""
    own = next((kind for kind in KINDS if kind == kind_of(library)), None)
    if own is None or library.normalizer is not None or not _cuts_as(library, own):
        return False
    return all(token.special for token in library.get_added_tokens_decoder().values())


def parts(text: str) -> Iterator[str]:
    """A long text cut at borders that every one of the four kinds has: bounds memory and lets all cores work.

    The parts joined are the text. Where it has no such border it stays whole.
    """
    start = 0
    while len(text) - start > _MAX_PART_LENGTH:
        border = _SAFE_BORDER.search(text, start + _MAX_PART_LENGTH)
        if border is None:
            break
        yield text[start : border.start()]
        start = border.start()
    yield text[start:]


def _cuts_as(library: Library, kind: Kind) -> bool:
    return _state(library.pre_tokenizer) == _state(pre_tokenizer_of(kind))


def _state(component: Any) -> dict[str, Any]:
    """The JSON of one component, as the library pickles it; empty where the tokenizer has none."""
    return {} if component is None else json.loads(component.__getstate__())
