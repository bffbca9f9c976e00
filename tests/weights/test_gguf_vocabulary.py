"""The tokenizer inside a GGUF file: the same ids for every text, and refused where llama.cpp would read others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.text import SpecialRoles, Tokenizer
from cutaway.weights.gguf.cuts import CUTS
from cutaway.weights.gguf.vocabulary import CONTROL, NORMAL, UNUSED, USER, read_tokenizer, tokenizer_metadata
from tests.text.samples import sentencepiece, trained, unigram
from tests.text.test_pieces import trained as pieces
from tests.weights import gguf_files

PLACE = Path("m.gguf")
TORTURE = (
    "",
    " ",
    "   three   spaces   ",
    "The cat and the dog went up the hill.",
    "I can’t, he'll, WE'VE, it's 12345 and 3.14159e-10",
    "\n\n\t tabs\r\nand\rreturns \x00\x01\x7f",
    "Ünïcödé e\u0301 \u00e9 ﬁ Å \u212b",
    "漢字かな交じり文 한국어 ไทย हिन्दी العربية עברית",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 \ufeff\u200b\u202e\u2028\u3000\u00a0",
    "<|endoftext|><|user|> <|spare_0|> [PAD3] <0x0A>",
    "٣١٤ Ⅷ ½ ² ௧௨௩ 𝟘𝟙",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!??....",
    "\U0010ffff\ud7ff\ue000 ҈̸͓",
)


def metadata(tokenizer: Tokenizer, vocab_size: int = 0) -> dict[str, Any]:
    """The keys of a tokenizer as a reader gives them."""
    config = gguf_files.config(vocab_size=vocab_size or tokenizer.vocab_size, tokens=TokenIds())
    found = tokenizer_metadata(tokenizer, config)
    return {**found, "tokenizer.ggml.token_type": np.array(found["tokenizer.ggml.token_type"])}


def test_ours_comes_back_whole() -> None:
    ours = trained("bpe")
    keys = metadata(ours, vocab_size=350)
    assert keys["tokenizer.ggml.pre"] == "smollm"
    assert len(keys["tokenizer.ggml.tokens"]) == 350
    assert keys["tokenizer.ggml.token_type"].tolist().count(UNUSED) == 350 - ours.vocab_size
    found = read_tokenizer(keys, PLACE)
    assert found == ours
    assert found.encode_batch(list(TORTURE)) == ours.encode_batch(list(TORTURE))
    assert [found.decode(found.encode(text)) for text in TORTURE] == list(TORTURE)
    assert found.encode(TORTURE[9], specials=True) == ours.encode(TORTURE[9], specials=True)


def foreign(state: dict[str, Any]) -> Tokenizer:
    """Ours, with other rules."""
    return Tokenizer.from_json(json.dumps({**json.loads(trained("bpe").to_json()), **state}), trained("bpe").roles)


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.names[0])
def test_every_rule_comes_back(cut: Any) -> None:
    model = {**json.loads(trained("bpe").to_json())["model"], "ignore_merges": cut.ignores_merges}
    tokenizer = foreign({"pre_tokenizer": cut.pre_tokenizer(), "normalizer": cut.normalizer(), "model": model})
    if cut.names[0] == "default":
        with pytest.raises(CutawayError, match="no rule that cuts text as this tokenizer does"):
            metadata(tokenizer)
        return
    keys = metadata(tokenizer)
    assert keys["tokenizer.ggml.pre"] == cut.names[0]
    for name in cut.names:
        found = read_tokenizer({**keys, "tokenizer.ggml.pre": name}, PLACE)
        assert found is not None
        assert found.encode_batch(list(TORTURE)) == tokenizer.encode_batch(list(TORTURE))


def test_rules_differ() -> None:
    text = "I'LL see 12345 dogs  and\n\n e\u0301t\u00e9!!"
    ids = {}
    for cut in CUTS:
        library = Library.from_str(
            json.dumps({**json.loads(trained("bpe").to_json()), "pre_tokenizer": cut.pre_tokenizer()})
        )
        ids[cut.names[0]] = tuple(piece for piece, _ in library.pre_tokenizer.pre_tokenize_str(text))
    assert len(set(ids.values())) >= len(CUTS) - 1  # llama-bpe and dbrx differ in how they merge


@pytest.mark.parametrize("make", [sentencepiece, unigram, lambda: trained("word"), lambda: trained("byte")])
def test_what_llama_cpp_has_not_is_refused(make: Any) -> None:
    with pytest.raises(CutawayError, match=r"kind '\w+' like this cannot be written into a \.gguf file"):
        metadata(make())
    with pytest.raises(CutawayError, match="no rule that cuts text"):
        metadata(
            foreign(
                {
                    "pre_tokenizer": {
                        "type": "ByteLevel",
                        "add_prefix_space": True,
                        "trim_offsets": True,
                        "use_regex": True,
                    }
                }
            )
        )


def piece_keys(model: bytes, **changes: Any) -> dict[str, Any]:
    """The keys of a SentencePiece model, as llama.cpp's own conversion writes them."""
    sentencepiece = pytest.importorskip("sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(len(theirs))

    def kind(token_id: int) -> int:
        asked = ((theirs.is_unknown, 2), (theirs.is_control, CONTROL), (theirs.is_byte, 6), (theirs.is_unused, UNUSED))
        found = next((number for question, number in asked if question(token_id)), NORMAL)
        return USER if theirs.id_to_piece(token_id) == "<sep>" else found

    keys = {
        "model": "llama",
        "tokens": [theirs.id_to_piece(token_id) for token_id in ids],
        "scores": np.array([theirs.get_score(token_id) for token_id in ids], dtype=np.float32),
        "token_type": np.array([kind(token_id) for token_id in ids]),
        "bos_token_id": theirs.bos_id(),
        "eos_token_id": theirs.eos_id(),
        **changes,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}


def test_pieces_are_read_as_sentencepiece_reads_them() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = pieces("bpe", 3)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    for changes in ({}, {"add_space_prefix": True}):
        found = read_tokenizer(piece_keys(model, **changes), PLACE)
        assert found is not None
        assert found.vocab_size == len(theirs)
        assert (found.roles.bos, found.roles.eos) == (theirs.bos_id(), theirs.eos_id())
        for text in (*TORTURE, "a <sep> b<sep>"):
            assert found.encode(text) == theirs.encode(text), text
            assert found.decode(theirs.encode(text)) == text or not text


@pytest.mark.parametrize("has_prefix", [True, False])
def test_pieces_come_back(has_prefix: bool) -> None:
    keys = piece_keys(pieces("bpe", 3), add_space_prefix=has_prefix)
    is_usual = keys["tokenizer.ggml.token_type"] != USER  # cut out of the text, which needs a rule of its own
    kept = {
        "tokens": [token for token, is_kept in zip(keys["tokenizer.ggml.tokens"], is_usual, strict=True) if is_kept],
        "scores": keys["tokenizer.ggml.scores"][is_usual],
        "token_type": keys["tokenizer.ggml.token_type"][is_usual],
    }
    ours = read_tokenizer({**keys, **{f"tokenizer.ggml.{key}": value for key, value in kept.items()}}, PLACE)
    assert ours is not None
    written = tokenizer_metadata(ours, gguf_files.config(vocab_size=ours.vocab_size + 3, tokens=TokenIds()))
    assert written["tokenizer.ggml.add_space_prefix"] == has_prefix
    for key in ("scores", "token_type"):
        written[f"tokenizer.ggml.{key}"] = np.array(written[f"tokenizer.ggml.{key}"])
    again = read_tokenizer(written, PLACE)
    assert again is not None
    assert again.roles == ours.roles
    assert again.encode_batch(list(TORTURE)) == ours.encode_batch(list(TORTURE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "no score for each token"),
        ({"scores": np.zeros(3, dtype=np.float32)}, "no score for each token"),
        ({"scores": np.full(4, np.nan, dtype=np.float32)}, "the score nan"),
        ({"tokens": ["<unk>", "a", "a", "b"]}, "held twice"),
        ({"tokens": ["<unk>", "a", "", "b"]}, "empty"),
        (
            {"tokens": [], "scores": np.zeros(0, dtype=np.float32), "token_type": np.zeros(0, dtype=np.int32)},
            "no pieces",
        ),
        ({"token_type": np.array([2, 1, 1, 2])}, "exactly one piece for unknown text"),
        ({"token_type": np.array([2, 1, 9, 1])}, "the kind 9"),
        ({"token_type": np.array([2, 1, 6, 1])}, "256 bytes have no piece"),
    ],
    ids=range(9),
)
def test_broken_pieces_are_named(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "model": "llama",
        "tokens": ["<unk>", "a", "b", "ab"],
        "scores": np.zeros(4, dtype=np.float32),
    }
    keys = {f"tokenizer.ggml.{key}": value for key, value in {**good, **changes}.items() if value is not None}
    with pytest.raises(CutawayError, match=message) as caught:
        read_tokenizer(keys, PLACE)
    assert "m.gguf" in str(caught.value)


def test_added_tokens_keep_their_ids_wherever_they_are() -> None:
    library = Library(models.BPE({"<s>": 0, "a": 1, "b": 2, "ab": 3, "<b>": 4, "ba": 5}, [("a", "b"), ("b", "a")]))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken("<s>", special=True, normalized=False)])
    library.add_tokens([AddedToken("<b>", normalized=False), AddedToken("<c>", normalized=False)])
    ours = Tokenizer(library, SpecialRoles(bos=0, end=0))
    keys = metadata(ours)
    assert keys["tokenizer.ggml.token_type"].tolist() == [CONTROL, NORMAL, NORMAL, NORMAL, USER, NORMAL, USER]
    found = read_tokenizer(keys, PLACE)
    assert found is not None
    assert found.roles.named() == {**ours.roles.named()}
    for text in ("ab<b>ba<c>ab", "<s>ab<b>"):
        assert found.encode(text, specials=True) == ours.encode(text, specials=True)
    assert found.vocab_size == ours.vocab_size == 7


@pytest.mark.parametrize(("begins", "ends"), [(False, False), (True, False), (True, True), (False, True)])
def test_what_stands_around_a_text_comes_back(begins: bool, ends: bool) -> None:
    keys = {**metadata(trained("bpe")), "tokenizer.ggml.add_bos_token": begins, "tokenizer.ggml.add_eos_token": ends}
    found = read_tokenizer(keys, PLACE)
    assert found is not None
    again = metadata(found)
    assert (again["tokenizer.ggml.add_bos_token"], again["tokenizer.ggml.add_eos_token"]) == (begins, ends)
    assert found.encode("The cat") == trained("bpe").encode("The cat")
    library = Library.from_str(found.to_json())
    assert len(library.encode("The cat").ids) == len(found.encode("The cat")) + begins + ends


@pytest.mark.parametrize(
    ("rule", "begins"), [("gpt-2", False), ("llama-bpe", True), ("qwen2", False), ("tekken", True)]
)
def test_a_silent_file_begins_a_text_as_its_rule_does(rule: str, begins: bool) -> None:
    keys = {**metadata(trained("bpe")), "tokenizer.ggml.pre": rule}
    del keys["tokenizer.ggml.add_bos_token"]
    found = read_tokenizer(keys, PLACE)
    assert found is not None
    assert metadata(found)["tokenizer.ggml.add_bos_token"] == begins


def test_more_tokens_than_the_model_has_are_refused() -> None:
    with pytest.raises(CutawayError, match="The tokenizer has 299 ids and the model 298"):
        metadata(trained("bpe"), vocab_size=298)


def test_a_file_without_a_tokenizer_has_none() -> None:
    assert read_tokenizer({}, PLACE) is None
    assert read_tokenizer({"tokenizer.ggml.model": "no_vocab"}, PLACE) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "rwkv"}, "kind 'rwkv', which Cutaway does not read"),
        ({"model": 3}, "kind '3'"),
        ({"tokens": None}, "no list of tokens"),
        ({"tokens": ["a", "a"]}, "two tokens of one spelling"),
        ({"tokens": []}, "is broken"),
        ({"merges": None}, "no list of merges"),
        ({"merges": ["ab"]}, "a merge 'ab', which is no pair"),
        ({"merges": ["x\U0001f642 y"]}, "its tokenizer is broken"),
        ({"pre": "kimi-k9"}, "by the rule 'kimi-k9', which Cutaway does not have. Known: smollm"),
        ({"pre": 5}, "by the rule '5'"),
    ],
    ids=str,
)
def test_a_broken_tokenizer_is_named(change: dict[str, Any], message: str) -> None:
    keys = {**metadata(trained("bpe")), **{f"tokenizer.ggml.{key}": value for key, value in change.items()}}
    with pytest.raises(CutawayError) as caught:
        read_tokenizer(keys, PLACE)
    assert message in str(caught.value)
    assert "m.gguf" in str(caught.value)


def test_roles_beyond_the_vocabulary_are_none() -> None:
    keys = {**metadata(trained("bpe")), "tokenizer.ggml.bos_token_id": 10**9, "tokenizer.ggml.eos_token_id": "x"}
    found = read_tokenizer(keys, PLACE)
    assert found is not None
    assert (found.roles.bos, found.roles.eos, found.roles.pad) == (None, None, trained("bpe").roles.pad)


def test_the_patterns_are_understood_by_the_library() -> None:
    for cut in CUTS:
        for step in cut.steps:
            if step["type"] == "Split":
                assert pre_tokenizers.Split(Regex(step["pattern"]["Regex"]), "isolated") is not None
