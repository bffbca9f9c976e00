"""Where a run trains: on a GPU as on a processor, up to rounding; and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.objectives import Task
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe
from tests.gpus import needs_gpu

from . import runs, test_adapter_runs, test_answers, test_dialogues, test_pairs, test_questions

KINDS: dict[str, Callable[..., Recipe]] = {
    "texts": runs.recipe,
    "pairs": test_pairs.recipe,
    "dialogues": test_dialogues.recipe,
    "marked answers": test_questions.recipe,
    "written answers": test_answers.recipe,
    "adapters": test_adapter_runs.recipe,
}


def losses(plan: Recipe, directory: Path) -> list[float]:
    """Of every step, and of everything held out."""
    events = runs.train(plan, directory)
    return [event.values["loss"] for event in events if event.kind in ("step", "evaluate")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_task_moves(kind: str, tmp_path: Path) -> None:
    task = Trainer(KINDS[kind](tmp_path), tmp_path / "out").data.task(0, 0)
    assert task.input_ids.device.type == "cpu"
    moved = task.to(torch.device("meta"))
    given = {each.name for each in fields(Task) if getattr(task, each.name) is not None}
    assert given == {each.name for each in fields(Task) if getattr(moved, each.name) is not None}
    parts = [getattr(moved, name) for name in given]
    assert {(part if isinstance(part, torch.Tensor) else part.fields).device.type for part in parts} == {"meta"}
    assert moved.tokens.flag == task.tokens.flag


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_learns_what_a_processor_learns(kind: str, precision: str, tmp_path: Path) -> None:
    plan = [f"training.precision={precision}", "optimiser.kind=adamw", "training.device="]
    found = {
        device: losses(KINDS[kind](tmp_path, *plan[:2], plan[2] + device), tmp_path / device)
        for device in ("cpu", "cuda")
    }
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3 if precision == "fp32" else 5e-2)


@needs_gpu
def test_a_run_on_a_gpu_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan = runs.recipe(tmp_path, "training.device=cuda")
    trainer = Trainer(plan, tmp_path / "cut")
    for event in trainer.run():
        if (event.kind, event.step) == ("step", 5):
            trainer.stop()
    rest = losses(plan, tmp_path / "cut")
    assert rest == pytest.approx(losses(plan, tmp_path / "whole")[-len(rest) :], rel=1e-2)


def test_a_gpu_that_is_not_there_is_said_before_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CutawayError, match=r"training.device is 'cuda', and torch .* sees no GPU here"):
        Trainer(runs.recipe(tmp_path, "training.device=cuda"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
