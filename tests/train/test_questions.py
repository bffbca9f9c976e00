"""Training on questions: the loss falls to where answers are known, a killed run goes on bit for bit, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.apps.cli import main
from cutaway.config import ModelConfig
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.model import with_labels
from cutaway.tasks.answer import Threshold, evaluate_answers
from cutaway.tasks.answer.ask import Asking
from cutaway.train.events import TrainEvent
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.train.summary import run_events, summarise
from cutaway.weights import checkpoint
from tests import asked, tiny

from . import runs

RECIPE = """
name = "reader"
base = "base"
[[questions.train]]
files = "asked.json"
[[questions.validation]]
files = "held.json"
[questions]
stride = 16
max_question = 16
[optimiser]
learning_rate = 0.005
[schedule]
warmup_steps = 2
[training]
steps = 12
context = 72
batch_size = 4
accumulate = 2
evaluate_every = 6
sample_every = 6
save_every = 4
threads = 1
"""
LONG = (
    "training.steps=160",
    "training.context=128",
    "training.accumulate=1",
    "training.batch_size=8",
    "optimiser.learning_rate=0.01",
)
MASKED: dict[str, Any] = {"has_head": True, "num_labels": 0, "head_bias": True, "head_transform": "gelu"}


def base(folder: Path, **knobs: Any) -> ModelConfig:
    """An encoder beside the recipe, with a head for hidden words unless knobs say otherwise."""
    tokenizer = asked.wordpiece()
    model = tiny.model(asked.config(tokenizer, **{**MASKED, **knobs}))
    checkpoint.save(folder / "base", model, tokenizer_files=tokenizer.save)
    return model.config


def recipe(folder: Path, *changes: str) -> Recipe:
    asked.write(folder)
    asked.write(folder, "held.json", lambda content: content["data"].pop(0))
    (folder / "reader.toml").write_text(RECIPE)
    if not (folder / "base").exists():
        base(folder)
    return load_recipe(str(folder / "reader.toml"), changes)


def kind(events: list[TrainEvent], name: str) -> list[dict[str, Any]]:
    return [event.values for event in events if event.kind == name]


def test_a_run_learns_its_questions_by_heart_and_answers_them(tmp_path: Path) -> None:
    every = [f"training.{name}_every=80" for name in ("evaluate", "sample", "save")]
    events = runs.train(recipe(tmp_path, *LONG, *every), tmp_path / "run")
    losses = [values["loss"] for values in kind(events, "step")]
    assert losses[-1] < 0.2 * losses[0]
    first, *_, last = kind(events, "evaluate")
    assert last["loss"] < first["loss"]
    assert last["tokens"] % 2 == 0
    assert last["by_source"].keys() == {"held.json"}
    assert "bits_per_byte" not in last
    assert kind(events, "sample")[-1]["text"] == "How many arches are there? → three"
    lm = load(tmp_path / "run")
    report = evaluate_answers(lm, tmp_path / "asked.json", Asking(threshold=Threshold(threshold=0.0)))
    assert report.score("exact_match").value > 90
    assert report.score("f1").value > 90
    summary = summarise(tmp_path / "run", run_events(tmp_path / "run"))
    assert summary.bits_per_byte is summary.best_bits_per_byte is None
    assert summary.held_out_loss == last["loss"]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    plan, base = recipe(tmp_path), tmp_path / "base"  # which a resumed run no longer needs
    runs.assert_goes_on_bit_for_bit(plan, tmp_path, stop=7, meanwhile=lambda: base.rename(tmp_path / "gone"))


@pytest.mark.parametrize(
    "knobs", [{}, {"has_head": False, "has_pooler": True, "head_bias": False, "head_transform": None}]
)
def test_a_base_keeps_its_stack_and_gets_new_labels(knobs: dict[str, Any], tmp_path: Path) -> None:
    base(tmp_path, **knobs)
    old = load(tmp_path / "base").model.state_dict()
    models = [
        Trainer(recipe(tmp_path, f"seed={seed}"), tmp_path / str(place)).model for place, seed in enumerate((1, 1, 2))
    ]
    states = [model.state_dict() for model in models]
    kept = {name for name in states[0] if not name.startswith("labels.")}
    assert all(torch.equal(states[0][name], old[name]) for name in kept)
    assert {name.split(".")[0] for name in kept} == {"token", "encoder"}
    weights = [state["labels.projection.weight"] for state in states]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].std() == pytest.approx(0.02, rel=0.4)
    assert not states[0]["labels.projection.bias"].any()
    checkpoint.save(tmp_path / "saved", models[0])
    assert checkpoint.load(tmp_path / "saved").config == models[0].config, "transformers' class for questions"


def test_a_base_that_answers_already_goes_on_from_its_labels(tmp_path: Path) -> None:
    asked.reader(tmp_path / "base")
    trainer = Trainer(recipe(tmp_path), tmp_path / "run")
    for name, weight in load(tmp_path / "base").model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], weight)
    assert with_labels(trainer.model, 2, torch.Generator()) is trainer.model


def test_a_question_of_the_recipe_is_asked_of_the_first_context_held_out(tmp_path: Path) -> None:
    events = runs.train(recipe(tmp_path, "training.steps=6", "sample.prompt=Where to?"), tmp_path / "run")
    text = kind(events, "sample")[-1]["text"]
    assert text.startswith("Where to? → ")
    assert text.removeprefix("Where to? → ") in asked.CONTEXTS[2]


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(tmp_path)
    words = [str(tmp_path / "reader.toml"), "training.steps=6", "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    printed = capsys.readouterr().out
    assert f"cutaway answer {tmp_path / 'run'} --context FILE 'a question'" in printed
    assert "bits/byte" not in printed
    assert "held-out loss" in printed


REFUSED = {
    "two kinds of data": (('data.train=[{files="asked.json"}]',), "data and questions are there"),
    "a model": (("model.context=3",), "model"),
    "no base": (("base=nowhere",), "nowhere does not exist"),
    "tokens in a batch": (
        ("training.batch_tokens=4",),
        r"With \[questions\], a batch is measured by training.batch_size",
    ),
    "smoothing": (("training.label_smoothing=0.1",), "leave out .*label_smoothing"),
    "an adapter": (('adapter.targets=["query"]',), r"To mark answers takes a base"),
    "no questions": (("questions.validation=[]",), "questions.validation is empty"),
    "a missing file": (('questions.train=[{files="none.json"}]',), "none.json' does not exist"),
    "an impossible stride": (("questions.stride=0",), "questions.stride is 0"),
    "no room": (("questions.stride=60",), "stride is 60, and a row of 72 tokens has room for 53 of a context"),
    "a row too long": (("training.context=129",), "training.context is 129, and the model's positions end at 128"),
    "an unknown key": (("questions.strid=3",), "Did you mean 'stride'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_stop_the_run_is_said_first(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    runs.assert_said_first(lambda: recipe(tmp_path, *changes), tmp_path / "run", message)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"decoder": tiny.stack(), "encoder": None}, "takes a model with an encoder alone"),
        ({"decoder": tiny.stack(), "encoder": tiny.stack()}, "takes a model with an encoder alone"),
        ({"encoder": tiny.stack(), "has_head": False, "num_labels": 3}, "gives each token 3 scores"),
    ],
)
def test_a_base_of_another_kind_is_refused(knobs: dict[str, Any], message: str, tmp_path: Path) -> None:
    tokenizer = asked.wordpiece()
    model = tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, **knobs))
    checkpoint.save(tmp_path / "base", model, tokenizer_files=tokenizer.save)
    with pytest.raises(CutawayError, match=message):
        Trainer(recipe(tmp_path), tmp_path / "run")


def test_questions_need_a_base(tmp_path: Path) -> None:
    recipe(tmp_path)
    stack = "num_layers=1, d_model=8, attention={num_heads=2}, feedforward={d_hidden=8}"
    model = f"[model]\ncontext = 16\ndecoder = {{{stack}}}\n"
    (tmp_path / "reader.toml").write_text(RECIPE.replace('base = "base"\n', "") + model)
    with pytest.raises(CutawayError, match=r"To mark answers takes a base"):
        load_recipe(str(tmp_path / "reader.toml"))


def test_a_file_that_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    asked.write(tmp_path, change=lambda content: content["data"][1]["paragraphs"][0]["qas"][0].pop("id"))
    with pytest.raises(CutawayError, match=r"asked.json, data\[1\].paragraphs\[0\].qas\[0\] has no field 'id'"):
        Trainer(plan, tmp_path / "run")
