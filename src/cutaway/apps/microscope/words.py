"""Ids as the page writes them. In: a model's words. Out: their texts, spaces and newlines as they are."""

from __future__ import annotations

from ...lens.words import Words
from .reading import shown


def text_of(words: Words, token_id: int) -> str:
    """The text of an id; what is no text by itself (part of a character, a row without a token) as `text.visible` writes it."""
    if token_id >= words.tokenizer.vocab_size:
        return words.text(token_id)
    text = shown(words.tokenizer.token_bytes(token_id))
    return text if text else words.text(token_id)


def texts_of(words: Words) -> list[str]:
    """The text of every id, in order."""
    return [text_of(words, token_id) for token_id in range(words.vocab_size)]
