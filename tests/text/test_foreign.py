"""`tokenizer.json` of other people: what the library makes of it is what it gives here, and a damaged one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library

from cutaway.errors import CutawayError
from cutaway.text import Tokenizer

from .torture import TEXTS, TRAINING

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]


def _pairs() -> Library:
    library = Library(models.BPE())
    split = pre_tokenizers.Digits(individual_digits=True)
    library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TRAINING, trainer)
    return library


def _unigram() -> Library:
    library = Library(models.Unigram())
    library.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Lowercase()])
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    library.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    library.train_from_iterator(TRAINING, trainer)
    return library


def _wordpiece() -> Library:
    library = Library(models.WordPiece(unk_token="<unk>"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    library.train_from_iterator(
        TRAINING, trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIALS, show_progress=False)
    )
    return library


def _words() -> Library:
    library = Library(models.WordLevel(unk_token="<unk>"))
    library.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.train_from_iterator(
        TRAINING, trainers.WordLevelTrainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False)
    )
    return library


MAKERS: tuple[Callable[[], Library], ...] = (_pairs, _unigram, _wordpiece, _words)


@cache
def made(number: int) -> str:
    """The `tokenizer.json` of one of MAKERS, with a frame around a text and an added token that takes the space before it."""
    library = MAKERS[number]()
    library.add_tokens([AddedToken("<tool>", lstrip=True, normalized=False)])
    library.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, library.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    library.enable_padding(length=8)
    return library.to_str()


@pytest.mark.parametrize("number", range(len(MAKERS)), ids=lambda number: MAKERS[number].__name__)
def test_the_library_gives_the_same(number: int, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(made(number), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "unk_token": "<unk>"}))
    theirs, ours = Library.from_str(made(number)), Tokenizer.load(tmp_path)
    theirs.no_padding()
    for text in (*TEXTS, "the <tool> cat<tool>"):
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, specials=True) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids, skip_special=True) == theirs.decode(ids)
        if not any(token in text for token in SPECIALS):
            assert ours.encode(text) == ids
    assert (ours.roles.bos, ours.roles.unk) == (theirs.token_to_id("<s>"), theirs.token_to_id("<unk>"))
    ours.save(tmp_path / "saved")
    saved = Library.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert saved.encode("the cat").ids == theirs.encode("the cat").ids


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_mutated_file_opens_or_is_refused(data: st.DataObject, place: Path) -> None:
    content = bytearray(made(data.draw(st.integers(0, len(MAKERS) - 1))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (place / "tokenizer.json").write_bytes(content)
    try:
        tokenizer = Tokenizer.load(place)
        tokenizer.decode(tokenizer.encode("The quick <tool> brown é fox\n"))
    except CutawayError:
        return


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_value_of_another_type_opens_or_is_refused(data: st.DataObject, place: Path) -> None:
    content = json.loads(made(data.draw(st.integers(0, len(MAKERS) - 1))))
    node = content
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], (dict, list)) and node[key] and data.draw(st.integers(0, 3))):
            break
        node = node[key]
    node[key] = data.draw(
        st.sampled_from([None, True, -1, 0, 2**31, 2**40, 1e308, "", "x", [], {}, [[]], {"type": "x"}])
    )
    (place / "tokenizer.json").write_text(json.dumps(content))
    try:
        tokenizer = Tokenizer.load(place)
        tokenizer.decode(tokenizer.encode("The quick <tool> brown é fox\n"))
    except CutawayError:
        return


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


def test_an_absurd_id_is_refused(tmp_path: Path) -> None:
    content = json.loads(made(0))
    content["model"]["vocab"]["the"] = 2**31
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CutawayError, match="ids end below"):
        Tokenizer.load(tmp_path)
