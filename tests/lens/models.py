"""Models to look into. In: nothing. Out: public objects over tiny random models, of one stack and of two."""

from __future__ import annotations

from cutaway.config import TokenIds
from cutaway.lm import LM
from cutaway.text import train_tokenizer
from tests import tiny

BYTES = train_tokenizer("byte", [])


def one_stack(**knobs: object) -> LM:
    """A decoder over bytes whose greedy text varies. knobs: of its stack."""
    ids = TokenIds(bos=BYTES.roles.bos)
    config = tiny.config(vocab_size=BYTES.vocab_size, embedding_scale=5.0, tokens=ids, decoder=tiny.stack(**knobs))
    return LM(tiny.model(config, seed=4), BYTES, "one stack")


def two_stacks() -> LM:
    """An encoder and a decoder over bytes."""
    knobs = {"encoder": tiny.stack(), "decoder": tiny.stack(num_layers=3), "vocab_size": BYTES.vocab_size}
    ids = TokenIds(decoder_start=BYTES.roles.bos)
    return LM(tiny.model(tiny.config(**knobs, tokens=ids, embedding_scale=5.0), seed=4), BYTES, "two stacks")
