"""A tokenizer that gets a token to hide others with: no other id changes, and every tool opens what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from cutaway.text import SpecialPlan, Tokenizer, train_tokenizer
from tests.text import samples

TEXT = "The cat saw the dog. <|mask|> It's 12!"
NO_MASK = SpecialPlan(mask=False)
TOKENIZERS = {
    "bpe": lambda: train_tokenizer("bpe", samples.DOCUMENTS, vocab_size=300, specials=NO_MASK),
    "byte": lambda: train_tokenizer("byte", samples.DOCUMENTS, specials=NO_MASK),
    "character": lambda: train_tokenizer("character", [*samples.DOCUMENTS, TEXT], specials=SpecialPlan.none()),
    "sentencepiece": samples.sentencepiece,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_other_id_changes(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    before = TOKENIZERS[name]()
    after = before.with_mask()
    assert after.roles == replace(before.roles, mask=before.vocab_size)
    assert after.vocab_size == before.vocab_size + 1
    assert after.kind == before.kind
    for text in (TEXT, *samples.DOCUMENTS) if name != "sentencepiece" else ("ab a b", TEXT):
        assert after.encode(text) == before.encode(text)
        assert after.decode(after.encode(text)) == before.decode(before.encode(text))
    assert [after.spelling(i) for i in range(before.vocab_size)] == [
        before.spelling(i) for i in range(before.vocab_size)
    ]
    assert after.encode("<|mask|>", specials=True) == [after.roles.mask]
    after.save(tmp_path)
    assert Tokenizer.load(tmp_path) == after
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert (theirs.mask_token, theirs.mask_token_id, len(theirs)) == ("<|mask|>", after.roles.mask, after.vocab_size)
    if name != "sentencepiece":
        assert theirs.encode(samples.DOCUMENTS[0], add_special_tokens=False) == after.encode(samples.DOCUMENTS[0])


def test_one_that_has_a_mask_is_itself() -> None:
    tokenizer = samples.trained("bpe")
    assert tokenizer.with_mask() is tokenizer


def test_a_spare_token_comes_first() -> None:
    before = train_tokenizer("byte", [], specials=SpecialPlan(mask=False, num_spares=2))
    after = before.with_mask()
    assert (after.roles.mask, after.roles.spares) == (before.roles.spares[0], before.roles.spares[1:])
    assert after.vocab_size == before.vocab_size


def test_a_special_token_that_is_there_plays_the_part() -> None:
    with_mask = train_tokenizer("byte", [])
    before = Tokenizer.from_json(with_mask.to_json(), replace(with_mask.roles, mask=None))
    assert before.with_mask() == with_mask
    assert before.with_mask(before.roles.pad).roles.mask == before.roles.pad


def test_a_word_that_is_spelled_so_stays_a_word() -> None:
    library = Library(models.WordLevel({"a": 0, "<|mask|>": 1, "b": 2}, unk_token="a"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    before = Tokenizer(library)
    after = before.with_mask()
    assert after.roles.mask == 3
    assert after.spelling(3) == "<|mask_0|>"
    assert after.encode("a b") == [0, 2]


@pytest.mark.parametrize("ids", [(0, 1, 3), (0, 1, 2, 4), (2, 5, 9)])
def test_ids_with_gaps_keep_their_tokens(ids: tuple[int, ...], tmp_path: Path) -> None:
    library = Library(models.WordLevel(dict(zip("abcd", ids, strict=False)), unk_token="a"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    before = Tokenizer(library)
    after = before.with_mask()
    after.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again == after
    assert after.roles.mask not in (None, *ids)
    assert [again.spelling(token_id) for token_id in ids] == list("abcd"[: len(ids)])
    assert again.encode("a b c <|mask|>", specials=True) == [*ids[:3], after.roles.mask]
