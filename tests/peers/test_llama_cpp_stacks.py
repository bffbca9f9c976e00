"""llama.cpp computes the same in models that are no decoders seeing the past: those that fill in masks, encoders,
and those with two stacks; and it reads the same ids with their tokenizers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.model import Call, Transformer, visibility
from cutaway.text import Tokenizer
from cutaway.weights.gguf import WRITABLE, save
from tests import tiny
from tests.text.torture import TEXTS
from tests.weights import test_gguf_encoders as encoders
from tests.weights import test_gguf_t5 as two_stacks
from tests.weights.test_bert import families
from tests.weights.test_gguf_masked import opened
from tests.weights.test_gguf_words import CLEANED, as_roberta_has_it, as_transformers_has_it, unigram, words
from tests.weights.test_masked_decoders import BOTH
from tests.weights.translators import LENGTHS, SOURCE, TARGET, alone

from . import llama_calls
from .test_llama_cpp import EXACT, ROUNDED


@BOTH
def test_models_that_fill_in_masks_compute_the_same(
    config: dict[str, Any], names: dict[str, str], has_bias: bool, tmp_path: Path
) -> None:
    ours, ids = opened(tmp_path / "m", config, names, has_bias), tiny.ids(1, 23)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    with torch.inference_mode():
        wanted = ours(ids, Call(visibility.full(23)))[0]
    with llama_calls.opened(tmp_path / "m.gguf") as theirs:
        found = theirs.decode(ids[0].tolist())
    assert wanted.std(dim=-1).min() > 1e-2
    assert (found - wanted).abs().max() <= EXACT * wanted.abs().max()


@families
def test_encoders_make_the_same_vectors(family: str, tmp_path: Path) -> None:
    ours, ids = encoders.opened(tmp_path / "m", family, size=0.2), tiny.ids(1, 23)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    states = encoders.states(ours, ids)[0]
    assert states.std(dim=0).min() > 0.1
    for pooling, wanted in {"none": states, "mean": states.mean(0), "first": states[0]}.items():
        with llama_calls.opened(tmp_path / "m.gguf", pooling=pooling) as theirs:
            found = (theirs.states if pooling == "none" else theirs.pooled)(ids[0].tolist())
        assert (found - wanted).abs().max() <= ROUNDED * wanted.abs().max()
    with llama_calls.opened(tmp_path / "m.gguf", pooling="rank") as theirs:  # its classifier; it shows one number of it
        first = theirs.pooled(ids[0].tolist())[0]
    assert abs(first - encoders.pooled(ours, ids)[0, 0]) <= ROUNDED


@pytest.mark.parametrize("knobs", [*two_stacks.CASES, {}], ids=range(4))
def test_two_stacks_compute_the_same(knobs: dict[str, Any], tmp_path: Path) -> None:
    ours = two_stacks.opened(tmp_path / "m", **knobs)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    bound = ROUNDED if ours.config.main.feedforward.is_gated else EXACT
    with llama_calls.opened(tmp_path / "m.gguf") as theirs:
        assert theirs.decoder_start == knobs.get("decoder_start_token_id", 0)
        for row, length in enumerate(LENGTHS):
            theirs.encode(SOURCE[row, :length].tolist())
            wanted, found = alone(ours, row)[0], theirs.decode(TARGET[row].tolist())
            assert wanted.std(dim=-1).min() > 1e-2
            assert (found - wanted).abs().max() <= bound * wanted.abs().max()
            theirs.forget()


def test_two_stacks_say_the_same(tmp_path: Path) -> None:
    said: set[int] = set()
    ours = two_stacks.opened(tmp_path / "m", **two_stacks.GATED)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    with llama_calls.opened(tmp_path / "m.gguf") as theirs:
        for row, length in enumerate(LENGTHS):
            source = SOURCE[row, :length].tolist()
            events = run(
                autoregressive(Session(ours, source_ids=source), [], Sampling(temperature=0), max_tokens=9, eos_ids=[])
            )
            theirs.encode(source)
            found, last = [], theirs.decoder_start
            for place in range(9):
                last = int(theirs.decode([last], begin=place)[0].argmax())
                found.append(last)
            assert found == [event.new for event in events]
            theirs.forget()
            said.update(found)
    assert len(said) > 3, "tokens that do not vary prove nothing"


# Of two ways to cut a run of one letter that are as probable, llama.cpp takes another one.
UNTIED = [text for text in TEXTS if "aaaa" not in text]


def is_cleaned_alike(text: str, *, lowercases: bool, strips: bool) -> bool:
    """Whether llama.cpp cleans a text as BERT does. It knows no longest word, takes away spacing marks with the accents, and
    leaves Hangul and İ whole."""
    parted = any(unicodedata.category(each) in ("Mc", "Me") or "\uac00" <= each <= "\ud7a3" for each in text)
    is_short = all(len(word) <= 100 for word in text.split())
    return is_short and "▁" not in text and not (strips and parted) and not (lowercases and not strips and "İ" in text)


@pytest.mark.parametrize(("lowercases", "strips"), CLEANED)
def test_words_become_the_same_ids(lowercases: bool, strips: bool | None, tmp_path: Path) -> None:
    is_stripped = lowercases if strips is None else strips
    texts = [text for text in TEXTS if is_cleaned_alike(text, lowercases=lowercases, strips=is_stripped)]
    assert len(texts) > 20
    assert_same_ids(words(lowercases, strips), encoders.opened(tmp_path / "m", "bert", vocab_size=800), texts, tmp_path)


@pytest.mark.parametrize("number", [0, 1, 6, 7])
def test_unigram_pieces_become_the_same_ids(number: int, tmp_path: Path) -> None:
    tokenizer = unigram(number)
    model = encoders.opened(tmp_path / "m", "xlm-roberta", vocab_size=tokenizer.vocab_size + 5)
    assert_same_ids(tokenizer, model, UNTIED, tmp_path)


def test_what_transformers_writes_gives_the_same_ids(tmp_path: Path) -> None:
    tokenizer = as_transformers_has_it()
    model = encoders.opened(tmp_path / "m", "xlm-roberta", vocab_size=tokenizer.vocab_size)
    assert_same_ids(tokenizer, model, UNTIED, tmp_path, same_as=unigram(0))


def test_roberta_reads_the_same_ids(tmp_path: Path) -> None:
    tokenizer = as_roberta_has_it()
    ids = {"bos_token_id": tokenizer.roles.cls, "eos_token_id": tokenizer.roles.sep}
    model = encoders.opened(tmp_path / "m", "roberta", vocab_size=tokenizer.vocab_size, **ids)
    assert_same_ids(tokenizer, model, TEXTS, tmp_path)


def assert_same_ids(
    tokenizer: Tokenizer, model: Transformer, texts: Sequence[str], folder: Path, same_as: Tokenizer | None = None
) -> None:
    """llama.cpp gives the tokenizer's ids (or those of another), and puts around a text what it puts there."""
    save(folder / "m.gguf", model, tokenizer)
    with llama_calls.opened(folder / "m.gguf", vocab_only=True) as theirs:
        differ = [text for text in texts if theirs.tokens(text) != (same_as or tokenizer).encode(text)]
        before, after = tokenizer.frame
        framed = theirs.tokens("the cat", specials=True)
    assert differ == []
    assert framed == [*before, *tokenizer.encode("the cat"), *after]
