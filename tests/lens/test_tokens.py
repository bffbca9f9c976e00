"""The tokens that a model reads: what its tokenizer begins every text with is among them."""

from __future__ import annotations

from tokenizers import Tokenizer as Library
from tokenizers.processors import TemplateProcessing

from cutaway.lens.tokens import tokens_of
from cutaway.text import Tokenizer
from tests.text.samples import trained


def test_what_begins_every_text_comes_first() -> None:
    library = Library.from_str(trained("bpe").to_json())
    first = trained("bpe").roles.eos
    assert first is not None
    name = library.id_to_token(first)
    library.post_processor = TemplateProcessing(single=f"{name} $A", special_tokens=[(name, first)])
    _, plain = tokens_of(trained("bpe"), "the cat")
    _, found = tokens_of(Tokenizer(library), "the cat")
    assert [token.id for token in found] == [first, *(token.id for token in plain)]
    assert (found[0].start, found[0].end, found[0].bytes, found[0].joins) == (0, 0, b"", ())
    assert [token.index for token in found] == list(range(len(found)))
    assert [(token.start, token.end) for token in found[1:]] == [(token.start, token.end) for token in plain]
