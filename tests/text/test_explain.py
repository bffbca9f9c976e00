"""How a text became tokens: the explanation ends in what `encode` gives, and every step of it is a true merge."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from cutaway.errors import CutawayError
from cutaway.text import Tokenizer, explain, train_tokenizer, visible
from cutaway.text.alphabet import unspelled
from cutaway.text.explain import ExplainedPiece
from cutaway.text.special import SpecialPlan

from .samples import DOCUMENTS, sentencepiece, trained, unigram, wordpiece

KINDS = ("character", "word", "byte", "bpe")
any_text = st.text(st.characters(exclude_categories=["Cs"]))
known_text = st.lists(st.sampled_from(["the cat", " Tom", "<|pad|>", "12", "  ", "aaaa", "🙂", "\n"])).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150)
@given(text=any_text | known_text, specials=st.booleans())
def test_the_tokens_are_those_of_encode(kind: str, text: str, specials: bool) -> None:
    tokenizer = trained(kind)
    explanation = explain(tokenizer, text, specials)
    assert [token.id for token in explanation.tokens] == tokenizer.encode(text, specials)
    assert "".join(piece.text for piece in explanation.pieces) == text
    assert [text[piece.start : piece.end] for piece in explanation.pieces] == [
        piece.text for piece in explanation.pieces
    ]
    json.dumps(explanation.as_dict())


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@settings(deadline=None, max_examples=150)
@given(text=any_text | known_text)
def test_offsets_span_the_characters_of_a_tokens_bytes(kind: str, text: str) -> None:
    before = 0
    for token in explain(trained(kind), text).tokens:
        first = len(text.encode()[:before].decode("utf-8", "ignore"))
        last = len(text.encode()[: before + len(token.bytes)].decode("utf-8", "replace"))
        assert (token.start, token.end) == (first, last)
        before += len(token.bytes)
    assert before == len(text.encode())


@settings(deadline=None, max_examples=150)
@given(text=any_text | known_text)
def test_every_merge_is_the_lowest_ranked_neighbour(text: str) -> None:
    tokenizer = trained("bpe")
    shown_ranks = {
        (visible(unspelled(left)), visible(unspelled(right))): rank
        for (left, right), rank in tokenizer.merge_ranks.items()
    }
    for piece in explain(tokenizer, text).pieces:
        _assert_merges_in_order(piece, shown_ranks)


def _assert_merges_in_order(piece: ExplainedPiece, ranks: dict[tuple[str, str], int]) -> None:
    symbols = list(piece.symbols)
    assert symbols == [visible(bytes([byte])) for byte in piece.text.encode()]
    for merge in piece.merges:
        pairs = list(pairwise(symbols))
        assert merge.rank == min(ranks[pair] for pair in pairs if pair in ranks) == ranks[merge.pair]
        index = pairs.index(merge.pair)
        symbols[index : index + 2] = [merge.result]
        assert tuple(symbols) == merge.symbols
    assert symbols == [token.text for token in piece.tokens]


def test_a_piece_in_full() -> None:
    tokenizer = train_tokenizer("bpe", ["the the the the"], vocab_size=260, specials=SpecialPlan.none())
    first, second = explain(tokenizer, "the then").pieces
    assert (first.text, first.symbols, second.text) == ("the", ("t", "h", "e"), " then")
    assert [(merge.rank, merge.pair, merge.result, merge.symbols) for merge in second.merges] == [
        (0, ("h", "e"), "he", ("␣", "t", "he", "n")),
        (1, ("t", "he"), "the", ("␣", "the", "n")),
        (2, ("␣", "the"), "␣the", ("␣the", "n")),
    ]
    assert [(token.text, token.start, token.end) for token in second.tokens] == [("␣the", 3, 7), ("n", 7, 8)]


def test_the_rule_of_each_kind_is_named() -> None:
    rules = {kind: explain(trained(kind), "the cat").rule for kind in KINDS}
    assert "character" in rules["character"]
    assert "word" in rules["word"]
    assert "byte" in rules["byte"]
    assert "lowest rank" in rules["bpe"]
    assert "Unigram" in explain(unigram(), "a b").rule


@pytest.mark.parametrize("tokenizer", [sentencepiece, unigram, wordpiece])
def test_foreign_tokenizers_are_explained_by_their_tokens(tokenizer: object) -> None:
    made = tokenizer()  # type: ignore[operator]
    for text in ("a ab b.", "a </s> [CLS] é"):
        assert [token.id for token in explain(made, text).tokens] == made.encode(text)


def test_a_special_token_is_a_piece_of_its_own() -> None:
    piece = explain(trained("bpe"), "cat<|pad|>", specials=True).pieces[-1]
    assert (piece.text, piece.merges, [token.id for token in piece.tokens]) == (
        "<|pad|>",
        (),
        [trained("bpe").roles.pad],
    )
    assert "before the rest" in piece.rule


def test_an_unknown_word_is_said_to_be_one() -> None:
    tokenizer = trained("word")
    known, _, unknown = explain(tokenizer, "the zebra").pieces
    assert known.rule == explain(tokenizer, "the").rule
    assert (unknown.text, [token.id for token in unknown.tokens]) == ("zebra", [tokenizer.roles.unk])
    assert "does not hold" in unknown.rule
    (spelled_out,) = explain(tokenizer, "<unk>", specials=True).pieces
    assert "before the rest" in spelled_out.rule


def test_a_model_that_takes_known_pieces_whole() -> None:
    data = json.loads(trained("bpe").to_json())
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = []
    tokenizer = Tokenizer(Library.from_str(json.dumps(data)))
    unknown, known = explain(tokenizer, "xyz the").pieces
    assert (known.symbols, known.merges, [token.text for token in known.tokens]) == ((), (), ["␣the"])
    assert "whole piece" in known.rule
    assert unknown.symbols == ("x", "y", "z")


def test_a_piece_too_long_to_take_apart_is_refused() -> None:
    assert len(explain(trained("bpe"), DOCUMENTS[0] * 100).pieces) > 1000
    with pytest.raises(CutawayError, match=r"3,000 bytes without a border.*2,048"):
        explain(trained("bpe"), "z" * 3000)


def test_an_empty_text_has_no_pieces() -> None:
    assert explain(trained("bpe"), "").pieces == ()
