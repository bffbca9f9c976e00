"""Training to write answers: learned by heart and given again, a killed run goes on bit for bit, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.tasks.answer import evaluate_answers
from cutaway.train.recipe import Recipe, load_recipe
from tests import asked

from . import runs

RECIPE = """
name = "writer"
[tokenizer]
kind = "bpe"
vocab_size = 340
merges = "sentences"
[questions]
answers = "written"
[[questions.train]]
files = ["asked.json", "story.txt"]
[[questions.validation]]
files = "asked.json"
[[questions.validation]]
files = "story.txt"
[model]
context = 256
[model.decoder]
num_layers = 2
num_shared = 1
d_model = 32
[model.decoder.attention]
num_heads = 2
[model.decoder.feedforward]
d_hidden = 64
[model.decoder.position]
kind = "rotary"
[optimiser]
learning_rate = 0.01
[schedule]
warmup_steps = 2
[training]
steps = 12
batch_tokens = 600
accumulate = 2
evaluate_every = 6
sample_every = 6
save_every = 4
threads = 1
[sample]
prompt = ""
max_tokens = 8
temperature = 0.0
"""
STORY = "1 Ann went out.\n2 Bob came in.\n3 Who came in?\tBob\t2\n4 Ann came in.\n5 Who is in?\tAnn,Bob\t2 4\n"
LONG = ("training.steps=150", "training.accumulate=1", "training.batch_tokens=2000", "optimiser.kind=muon")


def recipe(folder: Path, *changes: str) -> Recipe:
    asked.write(folder)
    (folder / "story.txt").write_text(STORY)
    (folder / "writer.toml").write_text(RECIPE)
    return load_recipe(str(folder / "writer.toml"), changes)


def test_a_run_learns_its_questions_by_heart_and_writes_the_answers(tmp_path: Path) -> None:
    every = [f"training.{name}_every=75" for name in ("evaluate", "sample", "save")]
    events = runs.train(recipe(tmp_path, *LONG, *every), tmp_path / "run")
    losses = [event.values["loss"] for event in events if event.kind == "step"]
    assert losses[-1] < 0.2 * losses[0]
    first, *_, last = [event.values for event in events if event.kind == "evaluate"]
    assert last["loss"] < first["loss"]
    assert last["by_source"].keys() == {"asked.json", "story.txt"}
    assert last["bits_per_byte"] > 0
    sample = [event.values["text"] for event in events if event.kind == "sample"][-1]
    assert sample.startswith("Who built the mill? → Anna")
    lm = load(tmp_path / "run")
    for name in ("asked.json", "story.txt"):
        assert evaluate_answers(lm, tmp_path / name).score("exact_match").value > 90


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    runs.assert_goes_on_bit_for_bit(recipe(tmp_path), tmp_path, stop=7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.batch_size=4"], "measured by training.batch_tokens. Give it, and no training.batch_size"),
        (["questions.answers=said"], "answers"),
        (["questions.answers=marked"], "measured by training.batch_size"),
    ],
)
def test_what_does_not_go_together_is_said(changes: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=message):
        runs.train(recipe(tmp_path, *changes), tmp_path / "run")


def test_a_reader_of_texts_that_are_all_too_long_says_so(tmp_path: Path) -> None:
    runs.assert_said_first(
        lambda: recipe(tmp_path, "model.context=8"), tmp_path / "run", "No question fits into the model's context"
    )


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    runs.assert_said_first(
        lambda: recipe(tmp_path, "tokenizer={kind='character'}"),
        tmp_path / "run",
        "Answers need a token that ends a text",
    )
