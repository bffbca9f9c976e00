"""`cutaway train` with what cannot work: exit code 2, one message, no traceback, and the last good checkpoint is still there."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.train.display import Display
from cutaway.train.events import TrainEvent
from cutaway.train.loop import Trainer
from cutaway.train.run_directory import complete_checkpoints
from cutaway.weights import checkpoint

from . import runs

Capture = pytest.CaptureFixture[str]


def refusal(capsys: Capture) -> str:
    """The one message on stderr."""
    err = capsys.readouterr().err
    assert err.startswith("cutaway train: ")
    assert err.count("\n") == 1
    assert err.endswith(".\n") or err.endswith("?\n")
    return err


# What spoils a folder with a recipe, the words of the command, and what the message must say.
CASES: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "missing file": (lambda place: (place / "text.txt").unlink(), (), "text.txt' does not exist"),
    "missing recipe": (lambda place: (place / "tiny.toml").unlink(), (), "There is no recipe"),
    "empty corpus": (lambda place: (place / "text.txt").write_text(""), (), "There is no text in text.txt"),
    "short corpus": (lambda place: (place / "text.txt").write_text("The cat."), (), "lower it, or add text"),
    "short held-out part": (lambda _: None, ("data.validation_share=0.005",), "held-out part of text.txt has 7 tokens"),
    "junk": (lambda place: (place / "text.txt").write_bytes(bytes(range(256))), (), "is binary|not UTF-8"),
    "recipe of junk": (lambda place: (place / "tiny.toml").write_bytes(b"\xff\x00"), (), "is not a text file"),
    "misspelt key": (lambda _: None, ("training.bach_size=4",), "Did you mean 'batch_size'"),
    "heads": (lambda _: None, ("model.decoder.attention.num_heads=5",), "does not divide d_model = 16"),
    "negative steps": (lambda _: None, ("training.steps=-3",), "training.steps is -3"),
    "divergence": (
        lambda _: None,
        ("optimiser.learning_rate=1e30", "optimiser.kind=adamw", "schedule.warmup_steps=0"),
        "Training diverged",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_gets_one_message_and_leaves_nothing(case: str, tmp_path: Path, capsys: Capture) -> None:
    spoil, words, message = CASES[case]
    recipe = runs.write_recipe(tmp_path / "recipe")
    spoil(tmp_path / "recipe")
    assert runs.train_by_command(recipe, tmp_path / "run", *words) == 2
    assert re.search(message, refusal(capsys))
    assert (tmp_path / "run").exists() == (case == "divergence")


@pytest.mark.parametrize("out", ["file", "file/run", "foreign"])
def test_a_directory_that_is_not_ours_is_left_alone(out: str, tmp_path: Path, capsys: Capture) -> None:
    recipe = runs.write_recipe(tmp_path / "recipe")
    (tmp_path / "file").write_text("here")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("years of work")
    before = runs.snapshot(tmp_path)
    assert runs.train_by_command(recipe, tmp_path / out) == 2
    assert "--out" in refusal(capsys)
    assert runs.snapshot(tmp_path) == before


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert runs.train_by_command(runs.write_recipe(tmp_path), Path("/proc/self/run")) == 2
    assert "Cannot write to /proc/self/run" in refusal(capsys)


def test_the_directory_of_another_run_names_the_key_and_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    assert runs.train_by_command(recipe, run, "training.steps=4") == 0
    before = runs.snapshot(run)
    assert runs.train_by_command(recipe, run, "training.steps=8") == 2
    assert "training.steps was 4 there and is 8 now" in refusal(capsys)
    assert runs.snapshot(run) == before


def test_the_run_directory_is_named_after_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    recipe = runs.write_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(recipe), "training.steps=1"]) == 0
    assert (tmp_path / "runs" / "tiny" / "loss.png").exists()
    shown = capsys.readouterr().out
    assert "cutaway generate runs/tiny The\n" in shown
    assert main(["generate", "tiny"]) == 2
    assert "Did you mean 'runs/tiny'?" in capsys.readouterr().err


@pytest.fixture
def half_done(tmp_path: Path) -> tuple[Path, Path]:
    """The recipe and the directory of a run with checkpoints at 4 and 8 of 12 steps."""
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    next(event for event in Trainer(runs.recipe(tmp_path), run).run() if (event.kind, event.step) == ("save", 8))
    return recipe, run


def test_a_truncated_checkpoint_is_passed_over(half_done: tuple[Path, Path], capsys: Capture) -> None:
    recipe, run = half_done
    weights = runs.checkpoint(run, 8) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert runs.train_by_command(recipe, run) == 0
    shown = capsys.readouterr().out
    assert "tiny resumes at step 4" in shown
    assert "The checkpoint step-00000008 is cut short or incomplete: it was set aside" in shown
    assert [step for step, _ in complete_checkpoints(run)] == [8, 12]


def test_nothing_is_redone_in_silence_when_no_checkpoint_is_whole(
    half_done: tuple[Path, Path], capsys: Capture
) -> None:
    recipe, run = half_done
    for step in (4, 8):
        (runs.checkpoint(run, step) / "config.json").unlink()
    before = runs.snapshot(run)
    assert runs.train_by_command(recipe, run) == 2
    assert "No checkpoint in" in refusal(capsys)
    assert runs.snapshot(run) == before


@pytest.mark.parametrize("file", ["model.safetensors", "train_state.safetensors", "tokenizer.json", "config.json"])
def test_a_checkpoint_with_other_content_is_refused(file: str, half_done: tuple[Path, Path], capsys: Capture) -> None:
    recipe, run = half_done
    path = runs.checkpoint(run, 8) / file
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert runs.train_by_command(recipe, run) == 2
    assert file in refusal(capsys)
    checkpoint.load(runs.checkpoint(run, 4))


def test_a_full_disk_keeps_what_was_saved_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """After the first checkpoint no file may grow beyond 8 KiB: the system refuses as a full disk does."""
    recipe, run, show = runs.write_recipe(tmp_path), tmp_path / "run", Display.show
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(display: Display, event: TrainEvent) -> None:
        show(display, event)
        if (event.kind, event.step) == ("step", 5):
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Display, "show", fill)
            assert runs.train_by_command(recipe, run, "training.evaluate_every=12", "training.sample_every=12") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "Could not save" in refusal(capsys)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]
    checkpoint.load(runs.checkpoint(run, 4))
    assert runs.train_by_command(recipe, run, "training.evaluate_every=12", "training.sample_every=12") == 0
    runs.train(runs.recipe(tmp_path, "training.evaluate_every=12", "training.sample_every=12"), tmp_path / "other")
    runs.assert_same_state(runs.checkpoint(run, 12), runs.checkpoint(tmp_path / "other", 12))
