"""Ids -> text while they come. In: one id at a time. Out: the text that is certain so far; joined, what `decode` gives.

A token may end within a UTF-8 character: its bytes wait until the character is complete or cannot become one (then it is
U+FFFD, as the Unicode Standard 15.0 §3.9 and a one-shot decode have it).
"""

from __future__ import annotations

import codecs

from .tokenizer import Tokenizer


class StreamDecoder:
    """Decodes one stream of ids. Text that `push` has returned never changes, whatever comes after it."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False) -> None:
        """skip_special: leave special tokens out of the text."""
        self._tokenizer = tokenizer
        self._skips_special = skip_special
        self._reader: _ByteReader | _TextReader = _reader(tokenizer)

    def push(self, token_id: int) -> str:
        """The text that has become certain with this id; "" while a character is incomplete.

        Raises CutawayError for an id that has no token.
        """
        self._tokenizer.spelling(token_id)
        if self._skips_special and self._tokenizer.is_special(token_id):
            return ""
        return self._reader.push(token_id)

    def finish(self) -> str:
        """The rest: an incomplete character as U+FFFD. The decoder is as new afterwards."""
        rest = self._reader.rest()
        self._reader = _reader(self._tokenizer)
        return rest


def _reader(tokenizer: Tokenizer) -> _ByteReader | _TextReader:
    return _ByteReader(tokenizer) if tokenizer.is_byte_level else _TextReader(tokenizer)


class _ByteReader:
    """For tokens that are bytes wherever they stand."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def rest(self) -> str:
        return self._utf8.decode(b"", final=True)


class _TextReader:
    """For tokens that are text. How one reads depends at most on whether another stood before it.

    A run of fallback bytes (SentencePiece) is read as a whole, by the library's rule: it waits until the run ends.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._waiting: list[int] = []

    def push(self, token_id: int) -> str:
        self._waiting.append(token_id)
        return "" if self._tokenizer.is_fallback_byte(token_id) else self.rest()

    def rest(self) -> str:
        """The text of the waiting ids, read behind the last id before them."""
        context = self._tokenizer.decode(self._before)
        text = self._tokenizer.decode([*self._before, *self._waiting])[len(context) :]
        self._before = self._waiting[-1:] or self._before
        self._waiting = []
        return text
