"""Runs in a few numbers: from events alone, of runs that are finished, stopped and killed, and of damaged logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.train.events import TrainEvent
from cutaway.train.summary import RunSummary, is_run, run_events, summarise

START = TrainEvent("start", 0, {"name": "toy", "steps": 3, "parameters": 1234})
STEPS = [TrainEvent("step", step, {"loss": 4.0 - step, "tokens": 100, "seconds": 0.5}) for step in (1, 2, 3)]
HELD = [
    TrainEvent("evaluate", step, {"loss": loss, "bits_per_byte": loss / 2, "elapsed": float(step)})
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5))
]
END = TrainEvent("end", 3, {"elapsed": 9.0, "checkpoint": ""})


def summary(folder: Path, *events: TrainEvent) -> RunSummary:
    (folder / "events.jsonl").write_text("".join(event.to_line() for event in events), "utf-8")
    return summarise(folder, run_events(folder))


def test_a_finished_run(tmp_path: Path) -> None:
    assert summary(tmp_path, START, *STEPS, *HELD, END) == RunSummary(
        name="toy", objective="next token", seed=None, estimate="exact", standard_error=None,
        state="finished", step=3, steps=3, parameters=1234, tokens=300, train_loss=1.0, held_out_loss=2.5,
        best_held_out_loss=2.0, best_step=2, bits_per_byte=1.25, best_bits_per_byte=1.0, tokens_per_second=200.0, seconds=9.0,
    )  # fmt: skip
    assert is_run(tmp_path)
    assert not is_run(tmp_path / "none")


def test_a_bound_is_told_with_its_standard_error(tmp_path: Path) -> None:
    start = TrainEvent("start", 0, {**START.values, "objective": "diffusion", "estimate": "bound", "seed": 7})
    bounds = [
        TrainEvent("evaluate", step, {"loss": 2.0, "estimate": "bound", "standard_error": step / 10}) for step in (1, 2)
    ]
    found = summary(tmp_path, start, *STEPS, *bounds)
    assert (found.objective, found.seed, found.estimate, found.standard_error) == ("diffusion", 7, "bound", 0.2)
    assert summary(tmp_path, start, *STEPS).estimate == "bound", "as the run said before it was evaluated"


def test_a_run_that_is_under_way_or_was_stopped(tmp_path: Path) -> None:
    killed = summary(tmp_path, START, *STEPS[:2])
    assert (killed.state, killed.step, killed.steps, killed.seconds) == ("under way", 2, 3, 1.0)
    assert (killed.held_out_loss, killed.best_step, killed.best_bits_per_byte) == (None, None, None)
    assert summary(tmp_path, START, *STEPS[:2], TrainEvent("stop", 2, {"elapsed": 2.0})).state == "stopped"


@pytest.mark.parametrize(
    "event",
    [
        TrainEvent("step", 1, {"loss": 1.0, "tokens": 5}),
        TrainEvent("step", 1, {"loss": "x", "tokens": 5, "seconds": 1.0}),
        TrainEvent("step", 1, {"loss": 1.0, "tokens": 5, "seconds": 0.0}),
        TrainEvent("step", 1, {"loss": 1.0, "tokens": "5", "seconds": 1.0}),
    ],
)
def test_a_damaged_log_is_one_message(event: TrainEvent, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"events.jsonl is damaged"):
        summary(tmp_path, START, event)


def test_a_run_without_a_step_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="tells of no step"):
        summary(tmp_path, START)
