"""Texts of the decoders lookup and draft through the public object: those of the autoregressive decoder, however they end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.config import TokenIds
from cutaway.decode import Drafter, Lookup, Sampling, Session, Way
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.text import train_tokenizer
from tests import tiny
from tests.decode.guessers import like

BYTES = train_tokenizer("byte", [])
PROMPT = "Wie schön, wie schön, der Käse!"
LOOKUP = Way(decoder="lookup", looking=Lookup(num_drafts=6, longest=1))


def byte_model() -> LM:
    """Random weights over bytes: its text is full of broken characters, and its end token comes up."""
    ids = TokenIds(bos=BYTES.roles.bos, eos=BYTES.roles.eos)
    config = tiny.config(vocab_size=BYTES.vocab_size, context=96, embedding_scale=5.0, tokens=ids)
    return LM(tiny.model(config, seed=4), BYTES, "bytes")


def drafted_by(lm: LM) -> Way:
    """A draft model that is often right."""
    return Way(decoder="draft", drafter=Drafter.of(LM(like(lm.model, 0.02), BYTES, "small"), lm, num_drafts=5))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 300), start=st.integers(0, 12), length=st.integers(1, 3))
def test_a_text_looked_up_is_that_of_its_seed_up_to_any_stop(seed: int, start: int, length: int) -> None:
    lm, sampling = byte_model(), Sampling(temperature=0.7, seed=seed)
    whole = lm.generate(PROMPT, max_tokens=24, sampling=sampling)
    stop = [whole[start : start + length]] if whole[start : start + length] else []
    plain = lm.generate(PROMPT, max_tokens=24, sampling=sampling, stop=stop)
    assert lm.generate(PROMPT, max_tokens=24, sampling=sampling, stop=stop, way=LOOKUP) == plain


def test_a_greedy_text_of_a_draft_model_ends_at_any_stop() -> None:
    lm = byte_model()
    way, whole = drafted_by(lm), lm.generate(PROMPT, max_tokens=24)
    assert lm.generate(PROMPT, max_tokens=24, way=way) == whole
    assert lm.figures.num_accepted > 5
    assert lm.figures.num_passes < 20
    for start in range(0, len(whole), 3):
        stop = whole[start : start + 2]
        assert lm.generate(PROMPT, max_tokens=24, way=way, stop=[stop]) == whole[: whole.index(stop)]


def test_a_batch_equals_its_singles() -> None:
    lm, prompts = byte_model(), [PROMPT, "a", "The cat saw the dog.", PROMPT]
    for way, sampling in ((LOOKUP, Sampling(seed=3)), (drafted_by(lm), Sampling(temperature=0))):
        singles = [
            "".join(piece.text for piece in lm.stream(each, max_tokens=16, sampling=sampling, request=index, way=way))
            for index, each in enumerate(prompts)
        ]
        assert lm.generate_batch(prompts, max_tokens=16, sampling=sampling, way=way) == singles
        assert len(set(singles)) >= 3


def test_a_session_goes_on_from_text_to_text() -> None:
    lm, way = byte_model(), LOOKUP
    for decoder in (way, drafted_by(lm)):
        session, plain = Session(lm.model), Session(lm.model)
        for text in ("One, two. ", "One, two, ", "three."):
            ids = lm.tokenizer.encode(text)
            told = [
                [piece.event.new for piece in lm.stream(ids, max_tokens=5, session=each, end_ids=(), way=one)
                 if piece.event is not None and piece.event.is_final]
                for each, one in ((session, decoder), (plain, Way()))
            ]  # fmt: skip
            assert told[0] == told[1]
            assert session.ids == plain.ids


@pytest.mark.parametrize("decoder", ["lookup", "draft"])
def test_edits_are_refused(decoder: str) -> None:
    lm = byte_model()
    way = LOOKUP if decoder == "lookup" else drafted_by(lm)
    edits = [{"site": "layers.0.attention.mixed", "op": "zero"}]
    with pytest.raises(CutawayError, match=f"The {decoder} decoder runs without edits"):
        lm.generate(PROMPT, max_tokens=4, edits=edits, way=way)  # type: ignore[arg-type]


def test_a_model_of_other_tokens_does_not_draft() -> None:
    words = train_tokenizer("word", ["the cat saw the dog"])
    other = LM(tiny.model(tiny.config(vocab_size=words.vocab_size)), words, "words")
    with pytest.raises(CutawayError, match="'words' cannot draft for 'bytes'"):
        Drafter.of(other, byte_model())
