"""Likelihoods: one slow pass for each pair gives the same, all continuations together have probability 1, cuts of texts."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

import pytest
import torch

from cutaway.config import LayerType, ModelConfig, PositionConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.model import Transformer
from cutaway.tasks.score import (
    begun,
    encode_pair,
    fit,
    likelihoods,
    multiple_choice,
    prefix_id,
    rolling,
    score_ids,
    windows,
)
from cutaway.text import Tokenizer, train_tokenizer
from cutaway.text.special import SpecialRoles
from tests import tiny
from tests.text.samples import trained

NEAR = {"near": LayerType(window=3)}
MODELS: dict[str, ModelConfig] = {
    "sinusoidal": tiny.config(),
    "rotary, grouped": tiny.config(decoder=tiny.variants()["head norm"]),
    "window": tiny.config(decoder=tiny.stack(layer_types=NEAR, pattern=("near",))),
    "relative": tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="relative", num_buckets=8, max_distance=12))
    ),
    "translator": tiny.config(encoder=tiny.stack(), decoder=tiny.stack(), tokens=TokenIds(decoder_start=2)),
}
CONTEXTS = [tiny.ids(1, length, seed=length)[0].tolist() for length in (9, 3, 1, 9)]
PAIRS = [
    (context, continuation)
    for context in CONTEXTS
    for continuation in ([4], [5], [4, 7, 1], [4, 7, 2], tiny.ids(1, 6, seed=len(context))[0].tolist())
]


def slow(model: Transformer, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """One pass over one pair, in fp64's sum."""
    lm = LM(model, None, "slow")
    if model.config.has_cross:
        from cutaway.decode import Session

        logits = Session(model, source_ids=context).extend([2, *continuation[:-1]], "all")
    else:
        logits = lm.logits([*context, *continuation[:-1]])[0, len(context) - 1 :]
    picked = logits.double().log_softmax(-1).gather(-1, torch.tensor(continuation)[:, None])
    return float(picked.sum()), logits.argmax(-1).tolist() == continuation


@pytest.mark.parametrize("row_tokens", [1, 30, 2048])
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_its_slow_twin(name: str, row_tokens: int) -> None:
    model = tiny.model(MODELS[name])
    found = score_ids(model, PAIRS, row_tokens=row_tokens)
    for each, (context, continuation) in zip(found, PAIRS, strict=True):
        log_p, is_greedy = slow(model, context, continuation)
        assert each.log_p == pytest.approx(log_p, abs=1e-5 * max(1, abs(log_p)))
        assert (each.num_tokens, each.is_greedy) == (len(continuation), is_greedy)
    assert len({round(each.log_p, 3) for each in found}) > 10


def test_all_continuations_together_have_probability_one() -> None:
    model = tiny.model(tiny.config(vocab_size=7))
    pairs = [([3, 1, 4], list(ids)) for ids in product(range(7), repeat=3)]
    assert sum(math.exp(each.log_p) for each in score_ids(model, pairs)) == pytest.approx(1, abs=1e-5)


def test_greedy_is_what_generating_gives() -> None:
    model = tiny.lively(tiny.stack())
    lm = LM(model, None, "lively")
    given = [event.event.new for event in lm.stream([5, 6], max_tokens=5) if event.event]
    assert len(set(given)) > 2
    assert score_ids(model, [([5, 6], given)])[0].is_greedy
    assert not score_ids(model, [([5, 6], [*given[:-1], (given[-1] + 1) % tiny.VOCAB])])[0].is_greedy


def bytes_model(context: int = 48, **knobs: Any) -> LM:
    tokenizer = train_tokenizer("byte", [])
    return LM(tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, context=context, **knobs)), tokenizer, "bytes")


def test_a_text_is_cut_where_its_context_ends() -> None:
    lm = bytes_model()
    encode = lm.tokenizer.encode
    assert encode_pair(lm, "The", " cat") == (encode("The"), encode(" cat"))
    assert encode_pair(lm, "The ", "cat") == (encode("The"), encode(" cat")), "white space belongs to the continuation"
    begin = lm.tokenizer.roles.bos
    assert encode_pair(lm, "", "cat") == ([begin], encode("cat"))
    assert encode_pair(lm, " \n", "cat") == ([begin], encode(" \ncat"))
    with pytest.raises(CutawayError, match="adds no token"):
        encode_pair(lm, "cat", "")


def test_where_two_texts_melt_into_one_token_each_is_encoded_by_itself() -> None:
    tokenizer = trained("bpe")
    lm = LM(tiny.model(tiny.config(vocab_size=tokenizer.vocab_size)), tokenizer, "bpe")
    encode = tokenizer.encode
    assert len(encode("The cat")) <= len(encode("The ca")), "the last letter is no token of its own"
    assert encode_pair(lm, "The ca", "t") == (encode("The ca"), encode("t"))
    assert encode_pair(lm, "The", " cat") == (encode("The"), encode("The cat")[len(encode("The")) :])


def test_what_begins_every_text_begins_a_context() -> None:
    lm = bytes_model()
    framed = json.loads(lm.tokenizer.to_json())
    begin, text = {"SpecialToken": {"id": "<b>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    named = {"<b>": {"id": "<b>", "ids": [260], "tokens": ["<b>"]}}
    frame = {"type": "TemplateProcessing", "single": [begin, text], "pair": [begin, text], "special_tokens": named}
    tokenizer = Tokenizer.from_json(json.dumps({**framed, "post_processor": frame}), lm.tokenizer.roles)
    lm = LM(lm.model, tokenizer, "framed")
    assert encode_pair(lm, "The", " cat") == ([260, *tokenizer.encode("The")], tokenizer.encode(" cat"))
    assert begun(lm, "The", specials=True) == [260, *tokenizer.encode("The")]
    again = tokenizer.spelling(260) + "The"
    assert begun(lm, again, specials=True) == [260, *tokenizer.encode("The")], "not twice"
    assert begun(lm, again, specials=False) == [260, *tokenizer.encode(again)]
    assert len(begun(lm, again, specials=False)) > 10


def test_special_tokens_are_tokens_where_they_are_asked_for() -> None:
    lm, end = bytes_model(), train_tokenizer("byte", []).roles.eos
    assert end is not None
    spelled, encode = lm.tokenizer.spelling(end), lm.tokenizer.encode
    assert encode_pair(lm, "a" + spelled, "b", specials=True) == ([*encode("a"), end], encode("b"))
    assert encode_pair(lm, "a" + spelled, "b") == (encode("a" + spelled), encode("b"))
    assert encode_pair(lm, "", spelled + "b", specials=True) == ([end], encode("b"))
    whole = likelihoods(lm, [("a" + spelled, "b"), ("a" + spelled, "b")], specials=True)[0]
    assert whole.log_p == pytest.approx(slow(lm.model, [*encode("a"), end], encode("b"))[0], abs=1e-5)


def test_a_source_and_its_translation_are_texts_of_their_own() -> None:
    tokenizer = Tokenizer.from_json(train_tokenizer("character", ["abc "]).to_json(), SpecialRoles(eos=4))
    lm = LM(tiny.model(MODELS["translator"]), tokenizer, "translator")
    assert encode_pair(lm, "ab ", "c") == (tokenizer.encode("ab "), tokenizer.encode("c"))
    (found,) = likelihoods(lm, [("ab ", "ca")])
    assert found.log_p == pytest.approx(slow(lm.model, tokenizer.encode("ab "), tokenizer.encode("ca"))[0], abs=1e-5)
    with pytest.raises(CutawayError, match="reads a source first"):
        rolling(lm, ["a"])


def test_of_a_long_context_the_end_is_read() -> None:
    lm = bytes_model(context=10)
    (found,) = likelihoods(lm, [("x" * 30 + "abcd", "efg")])
    wanted, _ = slow(lm.model, lm.tokenizer.encode("xxxxabcd"), lm.tokenizer.encode("efg"))
    assert found.log_p == pytest.approx(wanted, abs=1e-5)
    assert fit(range(30), range(3), 10) == (range(22, 30), range(3))
    with pytest.raises(CutawayError, match="11 tokens, and the model reads 10"):
        likelihoods(lm, [("a", "b" * 11)])


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 13, 50])
@pytest.mark.parametrize("length", [1, 2, 7, 13])
def test_windows_hold_every_id_once(length: int, limit: int) -> None:
    found = list(windows(range(100, 100 + length), 9, limit))
    assert [token for _, inside in found for token in inside] == list(range(100, 100 + length))
    row = [9, *range(100, 100 + length)]
    for context, inside in found:
        place = row.index(inside[0])
        assert list(context) == row[place - len(context) : place]
        assert 1 <= len(context) + len(inside) - 1 <= limit
    if length >= limit:
        context, inside = found[-1]
        assert len(context) + len(inside) - 1 == limit, "the last window reads as far back as it can"


def test_a_rolling_text_is_scored_in_windows() -> None:
    lm, text = bytes_model(context=8), "The cat sat on it."
    ids, begin = lm.tokenizer.encode(text), lm.tokenizer.roles.bos
    assert begin is not None
    wanted = slow(lm.model, [begin], ids[:8])[0] + slow(lm.model, ids[7:8], ids[8:16])[0]
    wanted += slow(lm.model, ids[9:16], ids[16:])[0]
    assert rolling(lm, [text, "a"])[0] == pytest.approx(wanted, abs=1e-4)
    assert rolling(lm, ["abc"])[0] == pytest.approx(slow(lm.model, [begin], lm.tokenizer.encode("abc"))[0], abs=1e-5)


@pytest.mark.parametrize("normalise", ["none", "characters", "bytes", "tokens"])
def test_a_choice_is_the_likeliest_by_its_measure(normalise: Any) -> None:
    lm = bytes_model()
    questions = [("A cat", ["é", "sat on it", "ran"]), ("Who", ["came", "é b"])]
    for (context, choices), found in zip(questions, multiple_choice(lm, questions, normalise=normalise), strict=True):
        sizes = {"none": lambda _: 1, "characters": len, "bytes": lambda choice: len(choice.encode())}
        sizes["tokens"] = lambda choice: len(choice.encode()) + 1  # with the space before it
        wanted = [
            slow(lm.model, lm.tokenizer.encode(context), lm.tokenizer.encode(" " + choice))[0]
            / sizes[normalise](choice)
            for choice in choices
        ]
        assert found.scores == pytest.approx(wanted, abs=1e-4)
        assert found.index == wanted.index(max(wanted))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda lm: multiple_choice(lm, [("a", [])]), "no choices, or an empty one"),
        (lambda lm: multiple_choice(lm, [("a", ["b", ""])]), "no choices, or an empty one"),
        (lambda lm: multiple_choice(lm, [("a", ["b"])], normalise="byte"), "Did you mean 'bytes'"),
        (lambda lm: score_ids(lm.model, [([1], [])]), "nothing follows from nothing"),
        (lambda lm: score_ids(lm.model, [([], [1])]), "nothing follows from nothing"),
        (lambda lm: score_ids(lm.model, [([1], [999])]), "The id 999 is outside the vocabulary"),
        (lambda lm: score_ids(lm.model, [([1], [999, 1])]), "not in the vocabulary"),
        (lambda lm: score_ids(lm.model, [([1] * 48, [1, 1])]), "positions end at 48"),
    ],
)
def test_what_has_no_likelihood_is_refused(act: Any, message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        act(bytes_model(decoder=tiny.stack(position=PositionConfig(kind="learned"))))
    assert message in str(caught.value)


@pytest.mark.parametrize("knobs", [{"encoder": tiny.stack()}, {"predicts": "masked"}])
def test_models_that_predict_no_next_token_are_refused(knobs: Any) -> None:
    with pytest.raises(CutawayError, match="does not predict a text from left to right"):
        likelihoods(bytes_model(**knobs), [("a", "b")])


def test_without_an_id_that_begins_a_text_there_must_be_a_context() -> None:
    tokenizer = Tokenizer.from_json(train_tokenizer("character", ["abc "]).to_json())
    with pytest.raises(CutawayError, match="a text needs a context"):
        prefix_id(LM(tiny.model(tiny.config()), tokenizer, "bare"))
