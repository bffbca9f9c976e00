"""What a tokenizer cannot encode. In: the text, and where needed the tokenizer's library. Out: a CutawayError that says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer as Library

from ..errors import CutawayError
from .visible import visible

_MAX_LISTED: Final = 100


def check_text(text: object) -> None:
    """Raises CutawayError for what is no text: another type, or a string with half of a surrogate pair in it."""
    if not isinstance(text, str):
        raise CutawayError(f"A tokenizer takes text (str), got {type(text).__name__}: {text!r:.60}.")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CutawayError(
            f"The text holds the lone surrogate U+{ord(text[error.start]):04X} at position {error.start}, which is no "
            "character. It was read with the wrong encoding: read it as UTF-8, or replace it by U+FFFD."
        ) from error


def is_of_library(error: BaseException) -> bool:
    """Whether the tokenizers library failed. It raises nothing narrower than Exception, and its panics are not even that."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def unknown_piece(library: Library, texts: Sequence[str], unit: str) -> CutawayError | None:
    """The error for the first piece of `texts` that has no token, or None. unit: what a piece is, "character" or "word"."""
    for number, text in enumerate(texts):
        for piece, (start, _) in library.pre_tokenizer.pre_tokenize_str(text):
            if library.token_to_id(piece) is None:
                where = f"position {start}" + (f" of text {number + 1}" if len(texts) > 1 else "")
                return CutawayError(
                    f"The tokenizer does not know the {unit} {_named(piece)} at {where}. {_known(library, unit)} Leave it "
                    "out, or train a tokenizer with an unk token (unk = true), or of the kind bpe, which knows every text."
                )
    return None


def _named(piece: str) -> str:
    return f"'{visible(piece)}'" + (f" (U+{ord(piece):04X})" if len(piece) == 1 else "")


def _known(library: Library, unit: str) -> str:
    known = sorted(library.get_vocab(with_added_tokens=False))
    listed = " ".join(visible(token) for token in known[:_MAX_LISTED])
    return f"It knows {len(known):,} {unit}s: {listed}{' …' if len(known) > _MAX_LISTED else ''}."
