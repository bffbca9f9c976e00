"""`vocab.txt`: the ids and texts of the reference implementation, its switches, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, trainers

from cutaway.errors import CutawayError
from cutaway.text import StreamDecoder, Tokenizer

from .torture import TEXTS, TRAINING

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SWITCHES: tuple[dict[str, object], ...] = (
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
)


@pytest.fixture(scope="module")
def vocabulary() -> str:
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=False)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.train_from_iterator(
        TRAINING, trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIALS, show_progress=False)
    )
    by_id = sorted(library.get_vocab().items(), key=lambda pair: pair[1])
    return "".join(f"{token}\n" for token, _ in by_id)


def written(directory: Path, vocabulary: str, config: dict[str, object] | None = None) -> Path:
    directory.joinpath("vocab.txt").write_text(vocabulary, encoding="utf-8", newline="\n")
    if config is not None:
        directory.joinpath("tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("config", SWITCHES, ids=str)
def test_the_reference_gives_the_same(config: dict[str, object], vocabulary: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    written(tmp_path, vocabulary, {"tokenizer_class": "BertTokenizer", **config})
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True), Tokenizer.load(tmp_path)
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, specials=True) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
        if not any(token in text for token in SPECIALS):
            assert ours.encode(text) == ids, text
    assert theirs.get_vocab() == {ours.spelling(token_id): token_id for token_id in range(ours.vocab_size)}


def test_roles_are_known_and_what_is_saved_is_loaded(vocabulary: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, vocabulary))
    roles = tokenizer.roles
    assert [roles.pad, roles.unk, roles.cls, roles.sep, roles.mask] == [tokenizer.id_of(token) for token in SPECIALS]
    assert roles.bos is roles.eos is None
    assert tokenizer.kind == "WordPiece"
    assert Tokenizer.load(tmp_path / "vocab.txt") == tokenizer
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved") == tokenizer


def test_a_saved_tokenizer_frames_a_text_for_other_tools(vocabulary: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, vocabulary))
    assert tokenizer.frame == ((tokenizer.roles.cls,), (tokenizer.roles.sep,))
    assert tokenizer.specials == tuple(SPECIALS)
    library = Library.from_str(tokenizer.to_json())
    assert library.encode("the cat", "the dog").tokens[0] == "[CLS]"
    assert library.encode("the cat", "the dog").tokens.count("[SEP]") == 2


def test_two_texts_are_framed_as_the_reference_does(vocabulary: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    written(tmp_path, vocabulary, {"tokenizer_class": "BertTokenizer"})
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    before, between, after, types = Tokenizer.load(tmp_path).pair_frame
    found = theirs("a", "a", return_token_type_ids=True)
    (letter,) = theirs.encode("a", add_special_tokens=False)
    assert found["input_ids"] == [*before, letter, *between, letter, *after]
    assert tuple(found["token_type_ids"]) == types == (0, 0, 0, 1, 1)


def test_it_streams(vocabulary: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, vocabulary))
    ids = tokenizer.encode("the lazy dog sleeps")
    stream = StreamDecoder(tokenizer)
    assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids) == "the lazy dog sleeps"


def test_declared_tokens_take_their_ids(vocabulary: str, tmp_path: Path) -> None:
    size = vocabulary.count("\n")
    config = {
        "added_tokens_decoder": {str(size + 5): {"content": "<tool>", "special": True}},
        "additional_special_tokens": ["<later>"],
        "bos_token": {"content": "[CLS]", "lstrip": False},
    }
    written(tmp_path, vocabulary, config).joinpath("added_tokens.json").write_text(json.dumps({"##x##": size}))
    tokenizer = Tokenizer.load(tmp_path)
    assert [tokenizer.id_of(token) for token in ("##x##", "<tool>", "<later>")] == [size, size + 5, size + 6]
    assert tokenizer.encode("cat##x##<tool>", specials=True)[-2:] == [size, size + 5]
    assert size + 5 not in tokenizer.encode("<tool>")
    assert tokenizer.roles.bos == tokenizer.roles.cls


def test_a_line_feed_of_another_kind_is_a_token_of_its_own(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, "[UNK]\r\na\r\n\u2028\r\nb"))
    assert [tokenizer.id_of(token) for token in ("[UNK]", "a", "\u2028", "b")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no token"),
        (b"\n\n\n", "no token"),
        (b"a\nb\n", r"unknown words, \[UNK\]"),
        (b"[UNK]\n\xff\xfe\n", "no UTF-8"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "vocab.txt") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer_config.json", {"do_lower_case": "yes"}, "do_lower_case is 'yes'"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "added_tokens_decoder is list"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9": "x"}}, "no token under '9'"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "y"}}}, "has the id 'x'"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: {"content": "y"}}}, "has the id '999"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"0": {"content": "y"}}}, "id 0 is held by"),
        ("added_tokens.json", {"y": 10**9}, "ids run from 0 to"),
        ("added_tokens.json", {"y": -1}, "ids run from 0 to"),
        ("added_tokens.json", {"y": True}, "ids run from 0 to"),
        ("added_tokens.json", {"y": 9, "z": 9}, "share the id 9"),
        ("added_tokens.json", {"[UNK]": 9}, "declared beside it as 9"),
        ("added_tokens.json", [], "not a table"),
    ],
)
def test_declarations_that_cannot_be_are_refused(name: str, content: object, said: str, tmp_path: Path) -> None:
    written(tmp_path, "[UNK]\na\nb\n").joinpath(name).write_text(json.dumps(content))
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
