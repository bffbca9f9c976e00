"""A tokenizer for models that came without one. In: the size of a vocabulary. Out: a tokenizer whose words are the ids.

The text "12 5 7" is the ids 12, 5 and 7, and nothing else is a text.
"""

from __future__ import annotations

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from ...errors import CutawayError
from ...text import Tokenizer

RULE = "This model came without a tokenizer. The text is its ids: whole numbers with spaces between."


def numbers(vocab_size: int) -> Tokenizer:
    """The tokenizer of the ids 0 to vocab_size − 1."""
    library = Library(models.WordLevel({str(i): i for i in range(vocab_size)}, unk_token="0"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # joins with spaces
    return Tokenizer(library)


def check_numbers(text: str, vocab_size: int) -> None:
    """Raises CutawayError for a text that is not ids of this vocabulary."""
    for word in text.split():
        if not (word.isascii() and word.isdigit() and str(int(word)) == word and int(word) < vocab_size):
            raise CutawayError(
                f"'{word:.40}' is no id of this model, which came without a tokenizer. Write whole numbers from 0 to "
                f"{vocab_size - 1:,}, with spaces between."
            )
