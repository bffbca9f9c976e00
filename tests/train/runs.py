"""Small runs for tests. In: a folder and changes. Out: a recipe file whose run takes about a second, and ways to start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.train.events import TrainEvent, read_events
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights.train_state import load_state

TEXT = "".join(f"The cat saw the dog, and {i} came.\n" for i in range(40))
RECIPE = """
name = "tiny"
[tokenizer]
kind = "character"
[[data.train]]
files = "text.txt"
[model]
context = 16
[model.decoder]
num_layers = 2
d_model = 16
[model.decoder.attention]
num_heads = 2
[model.decoder.feedforward]
d_hidden = 32
[optimiser]
kind = "muon"
[schedule]
warmup_steps = 2
[training]
steps = 12
batch_size = 4
evaluate_every = 6
sample_every = 6
save_every = 4
threads = 1
[sample]
prompt = "The "
max_tokens = 8
"""
TIMES = ("elapsed", "seconds", "peak_share", "directory", "checkpoint")


def write_recipe(folder: Path, text: str = TEXT, recipe: str = RECIPE) -> Path:
    """The recipe's file, its text beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(text, "utf-8")
    (folder / "tiny.toml").write_text(recipe, "utf-8")
    return folder / "tiny.toml"


def recipe(folder: Path, *changes: str, text: str = TEXT) -> Recipe:
    """The recipe itself."""
    return load_recipe(str(write_recipe(folder, text)), changes)


def train(recipe: Recipe, directory: Path) -> list[TrainEvent]:
    """A whole run, in this process."""
    return list(Trainer(recipe, directory).run())


def train_by_command(recipe: Path, out: Path, *words: str) -> int:
    """`cutaway train`, in this process: the exit code."""
    return main(["train", str(recipe), *words, "--out", str(out)])


def start(recipe: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """`cutaway train`, in a process of its own."""
    command = [sys.executable, "-m", "cutaway", "train", str(recipe), *words, "--out", str(out)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def timeless(run: Path) -> list[TrainEvent]:
    """The events of a run without what depends on the clock and on where it lies."""
    return [
        TrainEvent(event.kind, event.step, {name: value for name, value in event.values.items() if name not in TIMES})
        for event in read_events(run / "events.jsonl")
    ]


def state(checkpoint: Path) -> tuple[bytes, dict[str, torch.Tensor], dict[str, Any]]:
    """What a checkpoint holds: the bytes of its weights, the optimisers' tensors, the facts but for times."""
    tensors, facts = load_state(checkpoint / "train_state.safetensors")
    facts.pop("elapsed")
    files = sorted(checkpoint.glob("*model.safetensors"))  # an adapter's too
    assert files, f"{checkpoint} holds no weights"
    return b"".join(file.read_bytes() for file in files), tensors, facts


def assert_same_state(one: Path, other: Path) -> None:
    """Two checkpoints are equal bit for bit."""
    weights, tensors, facts = state(one)
    other_weights, other_tensors, other_facts = state(other)
    assert weights == other_weights
    assert facts == other_facts
    assert tensors.keys() == other_tensors.keys()
    assert len(tensors) > 4
    assert all(torch.equal(tensors[name], other_tensors[name]) for name in tensors)


def assert_goes_on_bit_for_bit(
    plan: Recipe, folder: Path, *, stop: int, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """A run that was stopped behind a step, and started again, ends as the whole one does.

    meanwhile: what happens in between.
    """
    train(plan, folder / "whole")
    trainer = Trainer(plan, folder / "cut")
    for event in trainer.run():
        if (event.kind, event.step) == ("step", stop):
            trainer.stop()
    assert not checkpoint(folder / "cut", plan.training.steps).exists()
    meanwhile()
    train(plan, folder / "cut")
    last = plan.training.steps
    assert_same_state(checkpoint(folder / "whole", last), checkpoint(folder / "cut", last))
    assert timeless(folder / "whole") == timeless(folder / "cut")


def assert_said_first(plan: Callable[[], Recipe], out: Path, message: str) -> None:
    """What would stop a run is said before it begins: one message, and no run is there."""
    with pytest.raises(CutawayError, match=message):
        train(plan(), out)
    assert not (out / "recipe.json").exists()


def checkpoint(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step-{step:08}"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
