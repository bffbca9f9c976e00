"""`vocab.json` + `merges.txt`: the ids and texts of the reference implementation, and files that are none."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

from cutaway.errors import CutawayError
from cutaway.text import StreamDecoder, Tokenizer
from cutaway.text.alphabet import CHARACTERS

from .torture import TEXTS, TRAINING

ENCODER = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
CONFIGS: tuple[dict[str, object], ...] = (
    {"tokenizer_class": "GPT2Tokenizer"},
    {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
    {
        "tokenizer_class": "RobertaTokenizer",
        "mask_token": {"content": "<mask>", "lstrip": True, "__type": "AddedToken"},
    },
    {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "bos_token": None},
)


@cache
def files(specials: tuple[str, ...]) -> tuple[str, str]:
    """`vocab.json` and `merges.txt` of a model trained here; the special tokens take the first ids."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(specials), initial_alphabet=list(CHARACTERS), show_progress=False
    )
    library.train_from_iterator(TRAINING, trainer)
    data = json.loads(library.to_str())["model"]
    merges = "".join(f"{left} {right}\n" for left, right in data["merges"])
    return json.dumps(data["vocab"]), "#version: 0.2\n" + merges


def written(directory: Path, config: dict[str, object] | None = None, specials: tuple[str, ...] = ()) -> Path:
    vocabulary, merges = files(specials or ("<|endoftext|>",))
    (directory / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (directory / "merges.txt").write_text(merges, encoding="utf-8")
    if config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: "-".join(map(str, config.values()))[:30])
def test_the_reference_gives_the_same(config: dict[str, object], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    specials = ENCODER if config["tokenizer_class"] == "RobertaTokenizer" else ("<|endoftext|>",)
    written(tmp_path, config, specials)
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True), Tokenizer.load(tmp_path)
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, specials=True) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
        if not any(token in text for token in specials):
            assert ours.encode(text) == ids, text
    roles = ours.roles
    assert (roles.bos, roles.eos) == (theirs.bos_token_id, theirs.eos_token_id)
    assert (roles.cls, roles.sep, roles.mask) == (theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = loaded()
    ids = tokenizer.encode(text)
    stream = StreamDecoder(tokenizer)
    assert tokenizer.decode(ids) == "".join(map(stream.push, ids)) + stream.finish() == text


@cache
def loaded() -> Tokenizer:
    with TemporaryDirectory() as directory:
        return Tokenizer.load(written(Path(directory)))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path))
    assert tokenizer.kind == "bpe"
    assert Tokenizer.load(tmp_path / "vocab.json") == tokenizer
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved") == tokenizer
    tokenizer.save(tmp_path)  # and a tokenizer.json comes before all others
    (tmp_path / "vocab.json").write_text("{")
    assert Tokenizer.load(tmp_path) == tokenizer


def test_a_frame_is_saved_for_other_tools(tmp_path: Path) -> None:
    library = Library.from_str(Tokenizer.load(written(tmp_path, specials=ENCODER)).to_json())
    assert library.encode("cat").tokens[0::100] == ["<s>"]
    assert library.encode("cat").tokens[-1] == "</s>"
    plain = tmp_path / "plain"
    plain.mkdir()
    written(plain, {"add_bos_token": True})
    assert Library.from_str(Tokenizer.load(plain).to_json()).encode("cat").tokens[0] == "<|endoftext|>"


def test_two_texts_are_framed_as_the_reference_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    written(tmp_path, CONFIGS[2], ENCODER)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    before, between, after, types = Tokenizer.load(tmp_path).pair_frame
    ids = theirs("a", "a", return_token_type_ids=True)
    (letter,) = theirs.encode("a", add_special_tokens=False)
    assert ids["input_ids"] == [*before, letter, *between, letter, *after]
    assert set(ids["token_type_ids"]) == set(types) == {0}
    assert len(between) == 2


BYTES = {character: index for index, character in enumerate(CHARACTERS)}


@pytest.mark.parametrize(
    ("vocabulary", "merges", "said"),
    [
        ("{", "", "not JSON"),
        ("[]", "", "holds list"),
        ("{}", "", "no token in it"),
        (json.dumps({**BYTES, "ab": 0}), "", "share the id 0"),
        (json.dumps({**BYTES, "ab": -1}), "", "no number from 0 on"),
        (json.dumps({**BYTES, "ab": "x"}), "", "no number from 0 on"),
        (json.dumps({**BYTES, "ab": 1.5}), "", "no number from 0 on"),
        (json.dumps({**BYTES, "ab": 2**40}), "", "ids end below"),
        (json.dumps({**BYTES, "ab</w>": 300}), "", "no byte-level vocabulary"),
        (json.dumps({"a": 0, "b": 1}), "", "spells 2 of the 256 bytes"),
        (json.dumps(BYTES), "a b\n", "line 1 needs the token 'ab'"),
        (json.dumps({**BYTES, "ab": 300}), "#version\na b\na b c\n", "line 3 is 'a b c'"),
        (json.dumps({**BYTES, "ab": 300}), "ab", "line 1 is 'ab'"),
        (json.dumps({**BYTES, "ab": 300}), b"\xff\xfe", "no UTF-8"),
    ],
)
def test_files_that_are_no_vocabulary_are_refused(
    vocabulary: str, merges: str | bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_bytes(merges if isinstance(merges, bytes) else merges.encode())
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_ids_with_gaps_are_kept(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({**BYTES, "ab": 300}))
    (tmp_path / "merges.txt").write_text("a b\n")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("ab") == [300]
    assert tokenizer.vocab_size == 301
    with pytest.raises(CutawayError, match="No token has the id 299"):
        tokenizer.decode([299])


def test_the_merges_are_needed(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CutawayError, match=r"No tokenizer at .*merges\.txt"):
        Tokenizer.load(tmp_path / "vocab.json")
