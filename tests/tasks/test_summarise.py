"""Summaries: those of transformers for what fits, chunk by chunk for what does not, by every strategy; and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.config import TokenIds
from cutaway.decode import Beam, Constraints
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.tasks.summarise import Settings, Strategy, settings_of, summarise, summarise_all
from tests import tiny
from tests.tasks.summarisers import ASKS, DOCUMENTS, summariser, tokenizer

LONG = " ".join(DOCUMENTS)
KINDS = pytest.mark.parametrize("kind", ["bart", "t5", "gpt2"])


@torch.inference_mode()
def theirs(reference: Any, lm: LM, text: str, **knobs: Any) -> str:
    """What transformers makes of a source, by the same tokenizer."""
    ids = torch.tensor([lm.ids(text)])
    said = reference.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **knobs)[0].tolist()
    new = said[1:] if lm.config.has_cross else said[ids.shape[1] :]
    return lm.tokenizer.decode(new, skip_special=True).strip()


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_checkpoint_is_asked_as_it_says_and_answers_as_in_transformers(kind: str, tmp_path: Path) -> None:
    reference = summariser(kind, tmp_path, ASKS)
    lm = load(tmp_path)
    asked = {name: value for name, value in ASKS.items() if name != "prefix"}
    found = [summarise(lm, document).text for document in DOCUMENTS]
    assert found == [theirs(reference, lm, ASKS["prefix"] + document, **asked) for document in DOCUMENTS]
    assert len(set(found)) == len(DOCUMENTS), "summaries that do not vary prove nothing"
    assert found != [theirs(reference, lm, document, **asked) for document in DOCUMENTS], "the prefix must matter"


@KINDS
def test_settings_of_ours_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    reference = summariser(kind, tmp_path)
    lm = load(tmp_path)
    settings = settings_of(lm)
    rules = replace(settings.beam.constraints, no_repeat=2, min_tokens=3)
    beam = replace(settings.beam, num_beams=4, length_penalty=0.5, constraints=rules)
    settings = replace(settings, beam=beam, max_tokens=9)
    knobs = {"num_beams": 4, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "min_new_tokens": 3, "max_new_tokens": 9}
    found = [summarise(lm, document, settings).text for document in DOCUMENTS]
    wanted = [theirs(reference, lm, document + settings.suffix, **knobs) for document in DOCUMENTS]
    assert found == [text if lm.config.has_cross else text.partition("\n")[0].rstrip() for text in wanted]
    assert len(set(found)) == len(DOCUMENTS)
    assert (settings.suffix == "\nTL;DR:") == (kind == "gpt2")


def test_what_a_checkpoint_says_comes_in_order(tmp_path: Path) -> None:
    summariser("bart", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    task = {"summarization": {"num_beams": 5, "max_length": 31, "prefix": "sum: "}}
    config |= {"num_beams": 2, "length_penalty": 3.0, "no_repeat_ngram_size": 4, "task_specific_params": task}
    (tmp_path / "config.json").write_text(json.dumps(config))
    generation = {"length_penalty": 0.5, "min_length": 8, "forced_bos_token_id": 7, "forced_eos_token_id": [9]}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    settings = settings_of(load(tmp_path))
    rules = Constraints(no_repeat=4, min_tokens=7, first_id=7, last_id=9)
    assert settings.beam == Beam(num_beams=5, length_penalty=0.5, constraints=rules)
    assert (settings.max_tokens, settings.prefix, settings.suffix) == (30, "sum: ", "")


def lm_of(kind: str, folder: Path) -> LM:
    summariser(kind, folder)
    return load(folder)


def short(lm: LM, strategy: Strategy = "join", **knobs: Any) -> Settings:
    """Chunks of 24 tokens, of which each gives 5 at most."""
    beam = replace(settings_of(lm).beam, num_beams=2)
    return replace(settings_of(lm), **{"chunk": 24, "max_tokens": 5, "beam": beam, "strategy": strategy, **knobs})


@KINDS
def test_chunks_are_summarised_each_by_itself(kind: str, tmp_path: Path) -> None:
    lm = lm_of(kind, tmp_path)
    settings = short(lm, overlap=6)
    found = summarise(lm, LONG, settings)
    assert len(found.parts) > 3
    for part in found.parts:
        alone = summarise(lm, LONG[part.start : part.end], settings)
        assert [each.summary for each in alone.parts] == [part.summary]
        assert part.num_tokens == alone.parts[0].num_tokens <= 24
    assert found.text == " ".join(part.summary for part in found.parts)
    assert (found.parts[0].start, found.parts[-1].end, found.num_unread) == (0, len(LONG), 0)
    assert any(part.start < before.end for before, part in zip(found.parts, found.parts[1:], strict=False))


def test_the_first_chunk_alone_is_read(tmp_path: Path) -> None:
    lm = lm_of("t5", tmp_path)
    found, joined = summarise(lm, LONG, short(lm, "first")), summarise(lm, LONG, short(lm))
    assert found.parts == joined.parts[:1]
    assert found.num_unread == len(LONG) - found.parts[0].end > 0


@KINDS
def test_summaries_are_summarised_until_one_chunk_holds_them(kind: str, tmp_path: Path) -> None:
    lm = lm_of(kind, tmp_path)
    document = f"{LONG} {LONG}"
    found, text = summarise(lm, document, short(lm, "again")), document
    for each in found.rounds:
        assert each.text == text
        assert each.parts == summarise(lm, text, short(lm)).parts
        text = each.joined
    assert found.text == text
    assert len(found.rounds) > 1
    last = found.rounds[-1]
    grew = len(lm.tokenizer.encode(last.joined)) >= len(lm.tokenizer.encode(last.text))
    assert len(last.parts) == 1 or grew


@KINDS
def test_many_documents_are_what_each_is_alone(kind: str, tmp_path: Path) -> None:
    lm = lm_of(kind, tmp_path)
    documents, told = [LONG, *DOCUMENTS, f"{LONG} {LONG}"], []
    for strategy in ("join", "again", "first"):
        settings = short(lm, strategy)  # type: ignore[arg-type]
        many = summarise_all(lm, documents, settings, batch_size=3, progress=lambda *counts: told.append(counts))
        assert many == [summarise(lm, document, settings) for document in documents]
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]


def test_a_model_of_ours_summarises() -> None:
    ids = tokenizer().roles
    both = tiny.stack()
    made = tiny.model(
        tiny.config(
            encoder=both,
            decoder=both,
            vocab_size=tokenizer().vocab_size,
            tokens=TokenIds(bos=ids.bos, eos=ids.eos, decoder_start=ids.bos),
        ),
        std=0.6,
    )
    found = summarise(LM(made, tokenizer(), "ours"), LONG)
    assert len(found.parts) > 1
    assert all(part.num_tokens <= 48 and part.summary for part in found.parts)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no strategy": ({"strategy": "joined"}, "'joined' is not a strategy.*Did you mean 'join'"),
    "no chunk": ({"chunk": 0}, "chunk is 0"),
    "a negative overlap": ({"overlap": -1}, "overlap is -1"),
    "an overlap as long as a chunk": ({"chunk": 20, "overlap": 20}, "overlap is 20 and chunk is 20"),
    "an overlap longer than what is read": ({"overlap": 64}, "overlap is 64 and chunk is 64"),
    "a chunk longer than what is read": ({"chunk": 65}, "chunk is 65. It is at most 64"),
    "a chunk of an end token": ({"chunk": 1}, r"chunk of 1 token\(s\) holds nothing.*takes 1"),
    "a prefix as long as a chunk": ({"chunk": 9, "prefix": "The cat and the dog and the cat: "}, "holds nothing"),
    "a character that does not fit": ({"chunk": 2}, "Not even the character '“' fits"),
    "no tokens": ({"max_tokens": 0}, "max_tokens is 0"),
    "a minimum above the maximum": (
        {"max_tokens": 3, "beam": Beam(constraints=Constraints(min_tokens=4))},
        "min_tokens is 4",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_impossible_settings_are_refused(case: str, tmp_path: Path) -> None:
    knobs, message = MISTAKES[case]
    lm = lm_of("bart", tmp_path)
    with pytest.raises(CutawayError, match=message):
        summarise(lm, DOCUMENTS[2], replace(settings_of(lm), **knobs))


def test_a_decoder_needs_room_for_document_and_summary(tmp_path: Path) -> None:
    lm = lm_of("gpt2", tmp_path)
    assert settings_of(lm).max_tokens == 48
    with pytest.raises(CutawayError, match="96 places for a document and its summary together"):
        summarise(lm, LONG, replace(settings_of(lm), max_tokens=96))


@pytest.mark.parametrize("document", ["", " \n\t"])
def test_an_empty_document_is_refused(document: str, tmp_path: Path) -> None:
    lm = lm_of("t5", tmp_path)
    with pytest.raises(CutawayError, match="The document is empty"):
        summarise(lm, document)
    with pytest.raises(CutawayError, match="The document 2 is empty"):
        summarise_all(lm, ["A cat.", document])
    with pytest.raises(CutawayError, match="batch_size is 0"):
        summarise(lm, "A cat.", batch_size=0)


def test_models_that_write_no_text_are_refused() -> None:
    encoder = tiny.model(tiny.config(encoder=tiny.stack()))
    masked = tiny.model(tiny.config(decoder=tiny.stack(), predicts="masked"))
    for model in (encoder, masked):
        with pytest.raises(CutawayError, match="'tiny' does not write text from left to right"):
            summarise(LM(model, tokenizer(), "tiny"), "A cat.")
    with pytest.raises(CutawayError, match="has no tokenizer"):
        summarise(LM(tiny.model(tiny.config()), None, "tiny"), "A cat.")


@pytest.mark.parametrize(
    "value", [{"num_beams": "four"}, {"prefix": 3}, {"forced_bos_token_id": [1, 2]}, {"num_beams": 0}]
)
def test_a_checkpoint_that_asks_for_the_impossible_is_named(value: dict[str, Any], tmp_path: Path) -> None:
    summariser("bart", tmp_path, value)
    with pytest.raises(CutawayError, match=r"one value is wrong|num_beams is 0"):
        settings_of(load(tmp_path))
