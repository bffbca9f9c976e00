"""A run that was cut off goes on bit for bit: killed at random moments, stopped by Ctrl-C, in one process or in several."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.train.display import Display
from cutaway.train.events import TrainEvent
from cutaway.train.loop import Trainer
from cutaway.train.run_directory import complete_checkpoints
from cutaway.weights import checkpoint

from . import runs

STEPS = 24
CHANGES = (f"training.steps={STEPS}", "training.evaluate_every=12", "training.sample_every=8", "training.accumulate=2")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing cut off. Each test compares with it what it cut off."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    runs.train(runs.recipe(folder, *CHANGES), folder / "run")
    return folder / "run"


def assert_equal_runs(run: Path, uninterrupted: Path) -> None:
    assert runs.timeless(run) == runs.timeless(uninterrupted)
    for step in (STEPS - 4, STEPS):
        runs.assert_same_state(runs.checkpoint(run, step), runs.checkpoint(uninterrupted, step))


def wait_for(process: subprocess.Popen[str], place: Path, pattern: str) -> None:
    """Until something below the place has this name."""
    while process.poll() is None and not any(place.glob(pattern)):
        time.sleep(0.0003)


def test_killed_runs_go_on_bit_for_bit(uninterrupted: Path, tmp_path: Path) -> None:
    """kill -9 twice: while a checkpoint is written, and a random time after a later one."""
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    for pattern, delay in (("checkpoints/.*.partial", 0.0), ("checkpoints/step-00000008", random.uniform(0, 0.02))):
        process = runs.start(recipe, run, *CHANGES)
        wait_for(process, run, pattern)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it was killed"
    assert runs.train_by_command(recipe, run, *CHANGES) == 0
    assert not list((run / "checkpoints").glob(".*")), "what a killed run left half-written is swept away"
    assert_equal_runs(run, uninterrupted)


def test_ctrl_c_saves_and_leaves_and_the_same_command_goes_on(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    process = runs.start(recipe, run, *CHANGES)
    wait_for(process, run, "checkpoints/step-00000004")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    step, _ = complete_checkpoints(run)[-1]
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1] == f"Stopped. Saved at step {step}; the same command goes on from there."
    assert (run / "loss.png").exists()
    assert runs.train_by_command(recipe, run, *CHANGES) == 0
    assert f"tiny resumes at step {step}:" in capsys.readouterr().out
    assert_equal_runs(run, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show, before = Display.show, [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(display: Display, event: TrainEvent) -> None:
        show(display, event)
        if (event.kind, event.step) == ("step", 5):
            signal.raise_signal(number)

    monkeypatch.setattr(Display, "show", interrupt)
    assert runs.train_by_command(runs.write_recipe(tmp_path), tmp_path / "run") == 130
    assert complete_checkpoints(tmp_path / "run")[-1][0] == 5
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_leaves_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(display: Display, event: TrainEvent) -> None:  # noqa: ARG001
        if (event.kind, event.step) == ("step", 5):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Display, "show", interrupt)
    assert runs.train_by_command(runs.write_recipe(tmp_path), tmp_path / "run") == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"
    assert complete_checkpoints(tmp_path / "run")[-1][0] == 4


class Killed(BaseException):
    """Nothing in the program expects it, as nothing expects a kill."""


def run_until(trainer: Trainer, kind: str, step: int) -> None:
    """Leave a run as a kill would, right after an event."""
    next(event for event in trainer.run() if (event.kind, event.step) == (kind, step))


@pytest.mark.parametrize(
    ("kind", "step"),
    [("start", 0), ("step", 3), ("step", 8), ("sample", 8), ("save", 8), ("step", STEPS), ("save", STEPS)],
    ids=str,
)
def test_a_run_cut_off_after_any_event_goes_on_bit_for_bit(
    kind: str, step: int, uninterrupted: Path, tmp_path: Path
) -> None:
    recipe = runs.recipe(tmp_path, *CHANGES)
    run_until(Trainer(recipe, tmp_path / "run"), kind, step)
    runs.train(recipe, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", uninterrupted)


def test_killed_between_saving_and_saying_so(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = runs.recipe(tmp_path, *CHANGES)
    trainer = Trainer(recipe, tmp_path / "run")
    real = trainer.directory.prune

    def prune(keep: int) -> None:
        real(keep)
        raise Killed

    monkeypatch.setattr(trainer.directory, "prune", prune)
    with pytest.raises(Killed):
        list(trainer.run())
    assert [event.kind for event in runs.timeless(tmp_path / "run")][-1] == "step"
    runs.train(recipe, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", uninterrupted)


def stop_after(trainer: Trainer, step: int) -> Iterator[TrainEvent]:
    for event in trainer.run():
        yield event
        if event.step == step:
            trainer.stop()


def test_a_run_stopped_again_and_again_is_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(tmp_path, *CHANGES)
    for step in (1, 8, 13):
        events = list(stop_after(Trainer(recipe, tmp_path / "run"), step))
        assert (events[-1].kind, events[-1].step) == ("stop", step)
        assert complete_checkpoints(tmp_path / "run")[-1][0] == step
    events = list(stop_after(Trainer(recipe, tmp_path / "run"), STEPS))
    assert events[-1].kind == "end", "a stop after the last step is the end"
    assert_equal_runs(tmp_path / "run", uninterrupted)


def test_a_stop_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    trainer = Trainer(runs.recipe(tmp_path), tmp_path / "run")
    trainer.stop()
    events = list(trainer.run())
    assert [event.kind for event in events] == ["start", "stop"]
    assert events[-1].values["checkpoint"] == ""
    assert complete_checkpoints(tmp_path / "run") == []


def test_the_recipe_says_how_many_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        Trainer(runs.recipe(tmp_path, "training.threads=1"), tmp_path / "run")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_finished_run_is_told_so_and_nothing_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    assert runs.train_by_command(recipe, run) == 0
    before = runs.snapshot(run)
    (tmp_path / "text.txt").unlink()  # not even the data is read
    capsys.readouterr()
    assert runs.train_by_command(recipe, run) == 0
    shown = capsys.readouterr().out
    assert "is finished: all 12 steps are done" in shown
    assert "--fresh" in shown
    assert "--out" in shown
    assert runs.snapshot(run) == before


def test_fresh_begins_again(tmp_path: Path) -> None:
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    assert runs.train_by_command(recipe, run) == 0
    before = runs.state(runs.checkpoint(run, 12))[0]
    assert runs.train_by_command(recipe, run, "seed=2", "training.steps=8", "--fresh") == 0
    assert [step for step, _ in complete_checkpoints(run)] == [4, 8]
    assert [event.step for event in runs.timeless(run) if event.kind == "step"] == list(range(1, 9))
    assert runs.train_by_command(recipe, run, "--fresh") == 0
    assert runs.state(runs.checkpoint(run, 12))[0] == before, "the same recipe gives the same bits"


def test_fresh_with_a_mistake_keeps_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = runs.write_recipe(tmp_path), tmp_path / "run"
    assert runs.train_by_command(recipe, run) == 0
    assert runs.train_by_command(recipe, run, "model.context=5000", "--fresh") == 2
    assert "one window takes 5,001" in capsys.readouterr().err
    checkpoint.load(runs.checkpoint(run, 12))


def test_a_checkpoint_of_another_model_is_not_taken(tmp_path: Path) -> None:
    runs.train(runs.recipe(tmp_path / "a", "training.steps=4"), tmp_path / "run")
    record = tmp_path / "run" / "recipe.json"
    record.write_text(record.read_text().replace('"d_hidden": 32', '"d_hidden": 24'))
    changed = runs.recipe(tmp_path / "a", "training.steps=4", "model.decoder.feedforward.d_hidden=24")
    with pytest.raises(CutawayError, match="holds another model than the recipe describes"):
        Trainer(changed, tmp_path / "run")
