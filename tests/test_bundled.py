"""The models that come with the package: small, with cards, used when none is named, and what other tools make of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from transformers import MarianMTModel

from cutaway.apps.cli import main
from cutaway.decode import Beam
from cutaway.finding import bundled_models
from cutaway.lm import load
from cutaway.tasks.translate import translate
from cutaway.weights.provenance import read_provenance

LARGEST = {"stories": 8e6, "stories-chat": 15e6, "stories-hybrid": 15e6, "translate-de-en": 10e6}
GERMAN = ("Guten Morgen!", "Meine Schwester wohnt seit drei Jahren in Berlin.", "Wo ist der Bahnhof?")


@pytest.mark.parametrize("name", LARGEST)
def test_a_bundled_model_is_small_and_says_what_it_is(name: str) -> None:
    place = bundled_models()[name]
    assert sum(path.stat().st_size for path in place.iterdir()) < LARGEST[name]
    assert read_provenance(place).licence is not None
    assert (place / "README.md").read_text("utf-8").count("\n## ") >= 3
    assert load(name).tokenizer.roles.eos is not None


def test_every_bundled_model_is_known_here() -> None:
    assert bundled_models().keys() == LARGEST.keys()


def test_german_is_translated_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "Guten Morgen"]) == 0
    assert capsys.readouterr().out.strip() == "Good morning."


@pytest.mark.parametrize("num_beams", [1, 5])
def test_transformers_translates_the_same(num_beams: int) -> None:
    lm = load("translate-de-en")
    theirs = MarianMTModel.from_pretrained(Path(bundled_models()["translate-de-en"])).float().eval()
    for text, ours in zip(GERMAN, translate(lm, GERMAN, beam=Beam(num_beams=num_beams), max_tokens=40), strict=True):
        found = theirs.generate(
            torch.tensor([lm.ids(text)]),
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=40,
            early_stopping=False,
            bad_words_ids=None,
            forced_eos_token_id=None,
        )
        assert tuple(found[0, 1:].tolist()) == ours.ids


def test_a_conversation_begins_at_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi, I am looking for a restaurant.\nIn San Jose, please.\n"))
    assert main(["chat", "--temperature", "0"]) == 0
    replies = capsys.readouterr().out.strip().splitlines()
    assert len(replies) == 2
    assert all(len(reply.split()) > 2 for reply in replies)
