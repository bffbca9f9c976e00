"""A whole run by its events: what is written when, with which numbers, and that it learns."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from cutaway.lm import load
from cutaway.tasks.evaluate import evaluate
from cutaway.train.events import TrainEvent, read_events
from cutaway.train.loop import Trainer
from cutaway.train.optimise import factor

from . import runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainEvent]]:
    """The folder of a run, and its events."""
    folder = tmp_path_factory.mktemp("loop")
    return folder, runs.train(runs.recipe(folder), folder / "run")


def of(events: list[TrainEvent], kind: str) -> list[TrainEvent]:
    return [event for event in events if event.kind == kind]


def test_events_come_in_the_order_of_the_recipe(trained: tuple[Path, list[TrainEvent]]) -> None:
    _, events = trained
    seen = [(event.kind, event.step) for event in events]
    expected: list[tuple[str, int]] = [("start", 0)]
    for step in range(1, 13):
        expected += [("step", step)]
        expected += [(kind, step) for kind in ("evaluate", "sample") if step in (6, 12)]
        expected += [("save", step)] if step % 4 == 0 else []
    assert seen == [*expected, ("end", 12)]


def test_the_log_holds_what_was_given(trained: tuple[Path, list[TrainEvent]]) -> None:
    folder, events = trained
    assert list(read_events(folder / "run" / "events.jsonl")) == events


def test_the_start_tells_the_sizes(trained: tuple[Path, list[TrainEvent]]) -> None:
    folder, events = trained
    values = events[0].values
    model = load(folder / "run").model
    assert values["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert values["train_tokens"] + values["validation_tokens"] == len(runs.TEXT)


def test_every_step_tells_the_rates_that_it_took(trained: tuple[Path, list[TrainEvent]]) -> None:
    folder, events = trained
    recipe = runs.recipe(folder)
    for event in of(events, "step"):
        share = factor(event.step - 1, 12, recipe.schedule)
        assert event.values["learning_rate"] == pytest.approx(1e-3 * share)
        assert event.values["muon_learning_rate"] == pytest.approx(0.02 * share)
        assert event.values["tokens"] == 4 * 16
        assert event.values["bits_per_byte"] == pytest.approx(event.values["loss"] / math.log(2))
        assert event.values["gradient_norm"] > 0
        assert event.values["seconds"] > 0
        assert event.values["peak_share"] > 0


def test_it_learns(trained: tuple[Path, list[TrainEvent]]) -> None:
    losses = [event.values["loss"] for event in of(trained[1], "step")]
    assert losses[0] == pytest.approx(math.log(27), abs=0.1), "an untrained model knows nothing of its 27 characters"
    assert losses[-1] < losses[0] - 0.03


def test_the_held_out_loss_is_that_of_the_saved_model(trained: tuple[Path, list[TrainEvent]]) -> None:
    folder, events = trained
    values = of(events, "evaluate")[-1].values
    text = runs.TEXT[int(0.9 * len(runs.TEXT)) :]
    lm, nats = load(folder / "run"), 0.0
    ids = torch.tensor(lm.tokenizer.encode(text))
    for place in range(1, len(ids)):
        window = min((place - 1) // 16 * 16, len(ids) - 17)
        logits = lm.logits(ids[window:place])[0, -1]
        nats -= float(logits.double().log_softmax(-1)[ids[place]])
    assert values["tokens"] == len(ids) - 1
    assert values["loss"] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)
    assert values["by_source"] == {"text.txt": values["bits_per_byte"]}


def test_the_sample_is_the_prompt_and_what_the_model_makes_of_it(trained: tuple[Path, list[TrainEvent]]) -> None:
    for event in of(trained[1], "sample"):
        assert event.values["text"].startswith("The ")
        assert len(event.values["text"]) == len("The ") + 8


def test_two_checkpoints_are_kept_and_the_curves_are_there(trained: tuple[Path, list[TrainEvent]]) -> None:
    run = trained[0] / "run"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000008", "step-00000012"]
    assert (run / "loss.png").stat().st_size > 1000
    assert list((run / "tensorboard").iterdir())


def test_equal_recipes_give_equal_bits_and_other_seeds_do_not(
    trained: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    folder, _ = trained
    runs.train(runs.recipe(tmp_path), tmp_path / "same")
    runs.assert_same_state(runs.checkpoint(folder / "run", 12), runs.checkpoint(tmp_path / "same", 12))
    runs.train(runs.recipe(tmp_path, "seed=2"), tmp_path / "other")
    assert runs.state(runs.checkpoint(tmp_path / "other", 12))[0] != runs.state(runs.checkpoint(folder / "run", 12))[0]


def test_accumulation_trains_the_same_model(tmp_path: Path) -> None:
    """4 rows at once and 1 row four times: equal losses at every step, within fp32."""
    whole = runs.train(runs.recipe(tmp_path / "a"), tmp_path / "whole")
    parts = runs.train(
        runs.recipe(tmp_path / "a", "training.batch_size=1", "training.accumulate=4"), tmp_path / "parts"
    )
    for one, other in zip(of(whole, "step"), of(parts, "step"), strict=True):
        assert other.values["loss"] == pytest.approx(one.values["loss"], rel=1e-5)
        assert other.values["tokens"] == one.values["tokens"]


def test_mixed_precision_trains_and_saves_fp32(tmp_path: Path) -> None:
    events = runs.train(runs.recipe(tmp_path, "training.precision=bf16", "training.steps=4"), tmp_path / "run")
    losses = [event.values["loss"] for event in of(events, "step")]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in load(tmp_path / "run").model.parameters()} == {torch.float32}


def test_a_packed_model_is_evaluated_on_packed_documents(tmp_path: Path) -> None:
    """Each document alone, from the end token: what the loop says is what one finds document by document."""
    folder, lines = tmp_path, runs.TEXT.splitlines()
    (folder / "held.txt").write_text("<end>".join(lines[:3]), "utf-8")
    changes = (
        "tokenizer.kind=byte",
        "data.packing=packed",
        'data.train=[{files="text.txt", separator="\\n"}]',
        'data.validation=[{files="held.txt", separator="<end>"}]',
        "model.context=64",
        "training.steps=2",
    )
    events = runs.train(runs.recipe(folder, *changes), folder / "run")
    lm, nats, count = load(folder / "run"), 0.0, 0
    end = lm.tokenizer.roles.eos
    assert end is not None
    for line in lines[:3]:
        ids = torch.tensor([end, *lm.tokenizer.encode(line), end])
        nats -= float(lm.logits(ids[:-1])[0].double().log_softmax(-1).gather(1, ids[1:, None]).sum())
        count += len(ids) - 1
    (values,) = [event.values for event in of(events, "evaluate")]
    assert values["tokens"] == count
    assert values["loss"] == pytest.approx(nats / count, rel=1e-5)


def test_a_run_is_evaluated_by_its_own_command(trained: tuple[Path, list[TrainEvent]]) -> None:
    folder, events = trained
    report = evaluate(load(folder / "run"), folder / "text.txt")
    assert report.tokens == len(runs.TEXT) - 1
    assert report.loss == pytest.approx(of(events, "evaluate")[-1].values["loss"], abs=0.1)


def test_every_event_is_in_the_log_before_it_is_given(tmp_path: Path) -> None:
    for event in Trainer(runs.recipe(tmp_path, "training.steps=4"), tmp_path / "run").run():
        assert list(read_events(tmp_path / "run" / "events.jsonl"))[-1] == event
