"""Training on pairs: the loss falls, a killed run goes on bit for bit, the mean of checkpoints is their mean, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.text import Tokenizer
from cutaway.train.average import averaged
from cutaway.train.events import TrainEvent
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights import checkpoint

from . import runs

STACK = """
num_layers = 1
d_model = 16
[model.{0}.attention]
num_heads = 2
[model.{0}.feedforward]
d_hidden = 32
"""
RECIPE = f"""
name = "pairs"
[tokenizer]
kind = "byte"
[[pairs.train]]
files = "train.tsv"
[[pairs.validation]]
files = "held.tsv"
[model]
context = 32
[model.encoder]{STACK.format("encoder")}
[model.decoder]{STACK.format("decoder")}
[schedule]
warmup_steps = 2
[training]
steps = 12
batch_tokens = 200
accumulate = 2
label_smoothing = 0.1
average = 2
evaluate_every = 6
sample_every = 6
save_every = 4
threads = 1
[sample]
prompt = "abc"
max_tokens = 8
"""


def recipe(folder: Path, *changes: str) -> Recipe:
    """Spell a number, in letters, backwards."""
    words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(1000, 1200)]
    lines = [f"{word}\t{word[::-1]}\n" for word in words]
    (folder / "train.tsv").write_text("".join(lines[:180]))
    (folder / "held.tsv").write_text("".join(lines[180:]))
    (folder / "pairs.toml").write_text(RECIPE)
    return load_recipe(str(folder / "pairs.toml"), changes)


def kind(events: list[TrainEvent], name: str) -> list[TrainEvent]:
    return [event for event in events if event.kind == name]


def test_a_run_learns_and_answers(tmp_path: Path) -> None:
    events = runs.train(recipe(tmp_path, "training.steps=40", "optimiser.learning_rate=0.01"), tmp_path / "run")
    losses = [event.values["loss"] for event in kind(events, "step")]
    assert losses[-1] < 0.7 * losses[0]
    first, *_, last = [event.values for event in kind(events, "evaluate")]
    assert last["loss"] < first["loss"]
    assert last["by_source"].keys() == {"held.tsv"}
    assert kind(events, "sample")[-1].values["text"].startswith("abc → ")
    assert all(event.values["peak_share"] > 0 for event in kind(events, "step"))
    lm = load(tmp_path / "run")
    assert lm.ids("abc")[-1] == lm.tokenizer.roles.eos
    assert lm.generate("abc", max_tokens=5)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    runs.assert_goes_on_bit_for_bit(recipe(tmp_path), tmp_path, stop=7)


def test_a_run_ends_with_the_mean_of_its_last_checkpoints(tmp_path: Path) -> None:
    events = runs.train(recipe(tmp_path), tmp_path / "run")
    end = events[-1].values
    assert end["averaged"]["checkpoints"] == ["step-00000008", "step-00000012"]
    parts = [checkpoint.load(runs.checkpoint(tmp_path / "run", step)).state_dict() for step in (8, 12)]
    mean = load(tmp_path / "run").model.state_dict()
    for name, weight in mean.items():
        assert torch.allclose(weight, (parts[0][name] + parts[1][name]) / 2, atol=1e-7)
    assert any(not torch.equal(mean[name], parts[1][name]) for name in mean)
    assert Tokenizer.load(tmp_path / "run" / "averaged").frame[1]
    before = kind(events, "evaluate")[-1].values["loss"]
    assert end["averaged"]["loss"] == pytest.approx(before, rel=0.2)


def test_models_of_different_shape_have_no_mean(tmp_path: Path) -> None:
    for name, steps in (("one", ()), ("other", ("model.decoder.num_layers=2",))):
        runs.train(recipe(tmp_path, "training.steps=4", "training.average=1", *steps), tmp_path / name)
    with pytest.raises(CutawayError, match="hold different models"):
        averaged([runs.checkpoint(tmp_path / name, 4) for name in ("one", "other")])


REFUSED = {
    "both kinds of data": (('data.train=[{files="train.tsv"}]',), "data and pairs are there"),
    "no tokens in a batch": (("training.batch_size=4",), r"measured by training.batch_tokens.*no training.batch_size"),
    "too long": (("model.context=3", "sample.prompt=a"), "No pair has at most 3 tokens a side"),
    "a source without end": (("tokenizer.kind=character",), "lacks one"),
    "a long sample": ((f"sample.prompt={'a' * 40}",), "sample.prompt has 40 tokens. It is a source"),
    "an empty sample": (("sample.prompt=",), "sample.prompt has 0 tokens"),
    "more averaged than kept": (("training.keep=1",), "at least training.average, 2"),
    "smoothed away": (("training.label_smoothing=1.0",), "label_smoothing is 1.0"),
    "no pairs": (("pairs.validation=[]",), "pairs.validation is empty"),
    "a missing file": (('pairs.validation=[{files="none.tsv"}]',), "none.tsv' does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_stop_the_run_is_said_first(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    runs.assert_said_first(lambda: recipe(tmp_path, *changes), tmp_path / "run", message)


def test_an_encoder_needs_sources(tmp_path: Path) -> None:
    changes = ("model.encoder.num_layers=1", "model.encoder.d_model=16", "model.encoder.attention.num_heads=2")
    with pytest.raises(CutawayError, match=r"has \[model.encoder\] and no \[pairs\]"):
        runs.recipe(tmp_path, *changes, "model.encoder.feedforward.d_hidden=32")


@pytest.mark.parametrize("kind", ["spans", "infill"])
def test_a_run_on_hidden_parts_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    source = f'{{files="train.tsv", denoise="{kind}", length=24, separator="\\n"}}'
    hidden = recipe(tmp_path, f"pairs.train=[{source}]", f"pairs.validation=[{source}]", "tokenizer.num_spares=4")
    runs.assert_goes_on_bit_for_bit(hidden, tmp_path, stop=7)
    events = runs.timeless(tmp_path / "whole")
    losses = [event.values["loss"] for event in events if event.kind == "step"]
    assert losses[-1] < losses[0]
