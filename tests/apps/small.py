"""A small model in a directory, as a person has one. In: a place. Out: a checkpoint with a tokenizer, every weight random."""

from __future__ import annotations

from pathlib import Path

from cutaway.weights import checkpoint
from tests import tiny
from tests.text.samples import trained


def saved(directory: Path) -> Path:
    """A decoder of two layers, four heads and width 16 over the bpe tokenizer of the text tests."""
    tokenizer = trained("bpe")
    model = tiny.model(tiny.config(decoder=tiny.stack(), vocab_size=tokenizer.vocab_size, context=96))
    checkpoint.save(directory, model, tokenizer_files=tokenizer.save)
    return directory
