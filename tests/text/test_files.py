"""Tokenizer files: what is saved is what is loaded, here and by Hugging Face; what cannot be loaded is said clearly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.text import SpecialRoles, Tokenizer, train_tokenizer

from .samples import DOCUMENTS, sentencepiece, trained, unigram, wordpiece

KINDS = ("character", "word", "byte", "bpe")
TEXTS = (*DOCUMENTS, "the  cat\n\n the dog’s 12 cats", "<|user|>the cat<|end|> <|spare_1|><|endoftext|>")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    tokenizer.save(tmp_path / "new" / "place")
    for path in (tmp_path / "new" / "place", tmp_path / "new" / "place" / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded == tokenizer
        assert (loaded.kind, loaded.vocab_size, loaded.fingerprint()) == (
            kind,
            tokenizer.vocab_size,
            tokenizer.fingerprint(),
        )
        assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


@pytest.mark.parametrize("make", [sentencepiece, unigram, wordpiece])
def test_foreign_tokenizers_come_back(make: object, tmp_path: Path) -> None:
    tokenizer = make()  # type: ignore[operator]
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path) == tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", [None, "gpt2", "llama"])
def test_hugging_face_reads_the_same_tokenizer(kind: str, model_type: str | None, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = trained(kind)
    tokenizer.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in TEXTS:
        ids = tokenizer.encode(text, specials=True)
        assert theirs.encode(text, add_special_tokens=False) == theirs.encode(text) == ids
        assert theirs.decode(ids) == tokenizer.decode(ids)
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids, skip_special=True)
    roles = tokenizer.roles
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (roles.bos, roles.eos, roles.pad)
    assert (theirs.mask_token_id, theirs.unk_token_id) == (roles.mask, roles.unk)
    assert set(theirs.all_special_ids) == {*roles.named().values(), *roles.spares}
    assert len(theirs) == tokenizer.vocab_size


def test_hugging_face_reads_a_tokenizer_without_specials(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_tokenizer("character", DOCUMENTS)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert theirs.encode(DOCUMENTS[1]) == tokenizer.encode(DOCUMENTS[1])
    assert theirs.all_special_ids == []


def test_the_config_names_the_special_tokens(tmp_path: Path) -> None:
    trained("bpe").save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["bos_token"] == config["eos_token"] == "<|endoftext|>"
    assert (config["pad_token"], config["mask_token"]) == ("<|pad|>", "<|mask|>")
    assert config["additional_special_tokens"] == [
        *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        *("<|spare_0|>", "<|spare_1|>", "<|spare_2|>"),
    ]


def test_roles_are_found_where_foreign_files_keep_them(tmp_path: Path) -> None:
    tokenizer = trained("bpe")
    tokenizer.save(tmp_path)
    eos, pad = tokenizer.roles.eos, tokenizer.roles.pad
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"pad_token": {"content": "<|pad|>"}, "bos_token": None})
    )
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"mask_token": "<|mask|>", "unk_token": "<missing>"}))
    (tmp_path / "config.json").write_text(
        json.dumps({"bos_token_id": 10**6, "eos_token_id": [eos, 3], "pad_token_id": 1})
    )
    assert Tokenizer.load(tmp_path).roles == SpecialRoles(eos=eos, pad=pad, mask=tokenizer.roles.mask)


def test_a_file_of_another_name_has_no_roles(tmp_path: Path) -> None:
    trained("bpe").save(tmp_path)
    (tmp_path / "tokenizer.json").rename(tmp_path / "mine.json")
    assert Tokenizer.load(tmp_path / "mine.json").roles == SpecialRoles()


def test_foreign_padding_and_truncation_are_switched_off(tmp_path: Path) -> None:
    data = json.loads(trained("bpe").to_json())
    data["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode(DOCUMENTS[0]) == trained("bpe").encode(DOCUMENTS[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b'{"model": ', "not JSON"),
        (b"\xff\xfe\x00junk", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "not a tokenizer"),
        (b"[1, 2]", "not a tokenizer"),
        (b'{"model_type": "gpt2"}', "not a tokenizer"),
        (b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "without tokens"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(file) in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    trained("bpe").save(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CutawayError, match="cut short"):
        Tokenizer.load(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "nothing.json"):
        with pytest.raises(CutawayError, match="No tokenizer at"):
            Tokenizer.load(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    with pytest.raises(CutawayError, match=r"1,048,576 MiB.*at most 256 MiB"):
        Tokenizer.load(tmp_path)


def test_a_broken_config_is_refused(tmp_path: Path) -> None:
    trained("bpe").save(tmp_path)
    for content, said in (("{", "not JSON"), ("[]", "not a table")):
        (tmp_path / "tokenizer_config.json").write_text(content)
        with pytest.raises(CutawayError, match=said):
            Tokenizer.load(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CutawayError, match="Cannot write the tokenizer"):
        trained("bpe").save(tmp_path / "file" / "inside")
