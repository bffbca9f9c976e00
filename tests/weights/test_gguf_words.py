"""WordPiece and SentencePiece's unigram model inside a GGUF file: the same ids for every text, and back, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library
from tokenizers.trainers import WordPieceTrainer

from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.text import SpecialRoles, Tokenizer
from cutaway.text.formats.wordpiece import library_of_words
from cutaway.weights.gguf.vocabulary import CONTROL, UNKNOWN, UNUSED, read_tokenizer, tokenizer_metadata
from tests.text import samples
from tests.text.test_pieces import opened, trained
from tests.text.torture import TEXTS, TRAINING
from tests.weights import gguf_files

PLACE = Path("m.gguf")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROLES = SpecialRoles(pad=0, unk=1, cls=2, sep=3, mask=4)
CLEANED: list[tuple[bool, bool | None]] = [(True, None), (False, None), (True, False), (False, True)]


@cache
def words(lowercases: bool = True, strips_accents: bool | None = None) -> Tokenizer:
    """A WordPiece tokenizer as BERT's: its special tokens first, cls and sep around a text."""
    library = library_of_words({}, "[UNK]", lowercases=lowercases, strips_accents=strips_accents)
    trainer = WordPieceTrainer(vocab_size=700, special_tokens=list(SPECIALS), show_progress=False)
    library.train_from_iterator([*TRAINING, "##"], trainer)
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Tokenizer(library, ROLES)


@cache
def unigram(number: int) -> Tokenizer:
    """SentencePiece's own, of the settings with this number, as it is opened."""
    return opened(trained("unigram", number))


@cache
def as_transformers_has_it() -> Tokenizer:
    """T5's: a character map, a cut at white space, ▁ before each word; eos behind a text."""
    state = json.loads(unigram(0).to_json())
    charsmap = next(step for step in state["normalizer"]["normalizers"] if step["type"] == "Precompiled")
    pieces = [(piece, 0.0 if piece in ("<unk>", "<s>", "</s>") else score) for piece, score in state["model"]["vocab"]]
    library = Library(models.Unigram(pieces, unk_id=state["model"]["unk_id"]))
    wrapped = {**json.loads(library.to_str()), "normalizer": charsmap}
    library = Library.from_str(json.dumps(wrapped))
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    library.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "</s>", "<unk>")])
    library.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return Tokenizer(library, SpecialRoles(unk=0, eos=2))


@cache
def as_roberta_has_it() -> Tokenizer:
    """RoBERTa's: byte-level BPE cut as GPT-2 does, with tokens around a text that are two roles each."""
    state = json.loads(samples.trained("bpe").to_json())
    library = Library.from_str(json.dumps({**state, "post_processor": None}))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "</s>")])
    begin, end = library.token_to_id("<s>"), library.token_to_id("</s>")
    library.post_processor = processors.RobertaProcessing(("</s>", end), ("<s>", begin), add_prefix_space=False)
    return Tokenizer(library, SpecialRoles(cls=begin, sep=end))


def metadata(tokenizer: Tokenizer, more: int = 0) -> dict[str, Any]:
    """The keys of a tokenizer as a reader gives them. more: ids that the model has beyond it."""
    config = gguf_files.config(vocab_size=tokenizer.vocab_size + more, tokens=TokenIds())
    found = {key.removeprefix("tokenizer.ggml."): value for key, value in tokenizer_metadata(tokenizer, config).items()}
    for key in ("token_type", "scores"):
        if key in found:
            found[key] = np.array(found[key], dtype=np.float32 if key == "scores" else np.int32)
    if "precompiled_charsmap" in found:
        found["precompiled_charsmap"] = np.frombuffer(found["precompiled_charsmap"], dtype=np.uint8)
    return found


def read(keys: dict[str, Any]) -> Tokenizer:
    """The tokenizer of these keys."""
    found = read_tokenizer({f"tokenizer.ggml.{key}": value for key, value in keys.items()}, PLACE)
    assert found is not None
    return found


@pytest.mark.parametrize(("lowercases", "strips"), CLEANED)
def test_words_come_back_whole(lowercases: bool, strips: bool | None) -> None:
    ours = words(lowercases, strips)
    keys = metadata(ours, more=7)
    assert keys["model"] == "bert"
    assert (keys["normalizer.lowercase"], keys["normalizer.strip_accents"]) == (
        lowercases,
        lowercases if strips is None else strips,
    )
    assert (keys["bos_token_id"], keys["seperator_token_id"]) == (2, 3)
    assert keys["token_type"].tolist()[:5] == [CONTROL] * 5
    assert keys["token_type"].tolist().count(UNUSED) == 7
    found = read(keys)
    assert found == ours
    assert found.frame == ours.frame == ((2,), (3,))


def test_words_are_spelled_as_llama_cpp_has_them() -> None:
    tokens, vocabulary = metadata(words())["tokens"], json.loads(words().to_json())["model"]["vocab"]
    assert tokens[:5] == list(SPECIALS)
    assert tokens[vocabulary["the"]] == "▁the"
    assert tokens[vocabulary["##n"]] == "n"
    assert len(set(tokens)) == len(tokens)


def test_a_silent_file_has_the_ids_of_the_first_bert() -> None:
    usual = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    tokens = [usual.get(i, f"▁w{i}") for i in range(110)]
    types = np.array([CONTROL if i in usual else 1 for i in range(110)], dtype=np.int32)
    found = read({"model": "bert", "tokens": tokens, "token_type": types, "cls_token_id": 101})
    assert found.roles == SpecialRoles(pad=0, unk=100, cls=101, sep=102, mask=103)
    assert found.frame == ((101,), (102,))
    assert found.encode("W5 w7, w5") == [5, 7, 100, 5]


def changed(library_change: Callable[[Library], None], **model: Any) -> Tokenizer:
    """WordPiece with another rule."""
    state = json.loads(words().to_json())
    library = Library.from_str(json.dumps({**state, "model": {**state["model"], **model}}))
    library_change(library)
    return Tokenizer(library, ROLES)


def _without_chinese(library: Library) -> None:
    library.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)


def _with_a_word(library: Library) -> None:
    library.add_tokens([AddedToken("newword", normalized=False)])


@pytest.mark.parametrize(
    "make",
    [
        samples.wordpiece,  # cleans no text
        lambda: changed(_without_chinese),
        lambda: changed(_with_a_word),
        lambda: changed(lambda _: None, continuing_subword_prefix="@@"),
        lambda: unigram(2),  # bytes for unknown characters
        lambda: unigram(4),  # no space before a text, and no second one
        lambda: unigram(5),  # a space behind it
        samples.unigram,  # spaces as they stand, but no second one in front
    ],
    ids=range(8),
)
def test_what_llama_cpp_has_not_is_refused(make: Callable[[], Tokenizer]) -> None:
    with pytest.raises(CutawayError, match=r"kind '\w+' like this cannot be written into a \.gguf file"):
        metadata(make())


def test_words_without_cls_are_refused() -> None:
    bare = Tokenizer.from_json(words().to_json(), SpecialRoles(pad=0, unk=1, sep=3))
    with pytest.raises(CutawayError, match="puts cls and sep around every text"):
        metadata(bare)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": [*SPECIALS, "▁a", "▁a"]}, "two tokens of one spelling"),
        ({"tokens": list(SPECIALS), "unknown_token_id": 99, "token_type": np.ones(5, dtype=np.int32)}, "unknown words"),
    ],
)
def test_broken_words_are_named(changes: dict[str, Any], message: str) -> None:
    types = np.array([CONTROL] * 5 + [1] * 2, dtype=np.int32)
    with pytest.raises(CutawayError, match=message) as caught:
        read({"model": "bert", "token_type": types, "unknown_token_id": 1, **changes})
    assert "m.gguf" in str(caught.value)


@pytest.mark.parametrize("number", [0, 1, 6, 7])
def test_unigram_pieces_come_back(number: int) -> None:
    ours = unigram(number)
    keys = metadata(ours, more=5)
    assert keys["model"] == "t5"
    assert (keys["add_space_prefix"], keys["remove_extra_whitespaces"]) == (True, True)
    assert keys["token_type"].tolist().count(UNKNOWN) == 1
    assert keys["scores"][-5:].tolist() == [-10_000.0] * 5
    found = read(keys)
    assert found.vocab_size == ours.vocab_size
    assert found.encode_batch(list(TEXTS)) == ours.encode_batch(list(TEXTS))
    assert found.roles == ours.roles
    again = metadata(found)
    for key in keys:
        if key not in ("tokens", "token_type", "scores"):
            assert np.array_equal(again[key], keys[key]), key


def test_what_transformers_writes_gives_the_ids_of_sentencepiece() -> None:
    theirs = as_transformers_has_it()
    keys = metadata(theirs)
    assert (keys["add_bos_token"], keys["add_eos_token"], keys["eos_token_id"]) == (False, True, 2)
    found = read(keys)
    assert found.frame == theirs.frame == ((), (2,))
    assert found.encode_batch(list(TEXTS)) == unigram(0).encode_batch(list(TEXTS))


def test_what_stands_around_a_text_of_roberta_comes_back() -> None:
    ours = as_roberta_has_it()
    keys = metadata(ours)
    begin, end = ours.roles.cls, ours.roles.sep
    assert (keys["add_bos_token"], keys["add_eos_token"]) == (True, True)
    assert (keys["bos_token_id"], keys["eos_token_id"], keys["cls_token_id"]) == (begin, end, begin)
    found = read(keys)
    assert found.frame == ours.frame == ((begin,), (end,))
    assert found.encode_batch(list(TEXTS)) == ours.encode_batch(list(TEXTS))
    assert read({**keys, "pre": "roberta-bpe"}) == found


def test_pieces_across_words_are_refused_where_words_are_cut() -> None:
    state = json.loads(as_transformers_has_it().to_json())
    state["model"]["vocab"][50] = ["and▁the", -3.0]
    with pytest.raises(CutawayError, match="cannot be written"):
        metadata(Tokenizer.from_json(json.dumps(state), SpecialRoles(unk=0)))


def test_a_silent_file_ends_a_text_with_eos() -> None:
    keys = metadata(unigram(0))
    del keys["add_eos_token"], keys["add_bos_token"]
    assert read({**keys, "eos_token_id": 2}).frame == ((), (2,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precompiled_charsmap": "x"}, "is no list of bytes"),
        ({"precompiled_charsmap": np.array([1, 2], dtype=np.uint8)}, "character map is damaged"),
        ({"scores": None}, "no score for each token"),
        ({"tokens": ["<unk>", "a", "a"]}, "no score for each token"),
    ],
    ids=range(4),
)
def test_a_broken_unigram_model_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError, match=message) as caught:
        read({**metadata(unigram(0)), **changes})
    assert "m.gguf" in str(caught.value)
