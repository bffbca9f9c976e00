"""Runs of one recipe: what belongs together, means with standard errors, and what has no mean."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import CutawayError
from cutaway.train.events import TrainEvent
from cutaway.train.seeds import SeedGroup, group_by_seed, mean_of
from cutaway.train.summary import run_events, summarise

LOSSES = {1: 2.0, 2: 2.5, 3: 2.1}


def write(folder: Path, name: str, seed: int, loss: float = 2.0, steps: int = 3, **recipe: Any) -> Path:
    run = folder / f"{name}-{seed}-{len(list(folder.iterdir()))}"
    run.mkdir()
    facts = {"name": name, "description": f"of seed {seed}", "seed": seed, "training": {"steps": 3}, **recipe}
    (run / "recipe.json").write_text(json.dumps(facts), "utf-8")
    events = [
        TrainEvent("start", 0, {"name": name, "steps": 3, "parameters": 10, "seed": seed}),
        *(TrainEvent("step", step, {"loss": 3.0, "tokens": 10, "seconds": 1.0}) for step in range(1, steps + 1)),
        TrainEvent("evaluate", steps, {"loss": loss, "bits_per_byte": loss / 2, "elapsed": 5.0}),
    ]
    (run / "events.jsonl").write_text("".join(event.to_line() for event in events), "utf-8")
    return run


def grouped(*runs: Path) -> list[SeedGroup]:
    return group_by_seed(runs, [summarise(run, run_events(run)) for run in runs])


def test_runs_of_one_recipe_are_one_group_whatever_their_order(tmp_path: Path) -> None:
    runs = [write(tmp_path, "a", seed, loss) for seed, loss in LOSSES.items()]
    other = write(tmp_path, "a", 1, loss=9.0, objective={"kind": "diffusion"})
    first, second = grouped(runs[0], other, *runs[1:])
    assert (first.name, first.seeds, first.runs) == ("a", (1, 2, 3), tuple(map(str, runs)))
    assert (second.seeds, second.runs) == ((1,), (str(other),))
    loss, bits = first.figures["held_out_loss"], first.figures["bits_per_byte"]
    assert loss is not None
    assert bits is not None
    spread = statistics.stdev(LOSSES.values()) / 3**0.5
    assert (loss.value, loss.standard_error) == (
        pytest.approx(statistics.mean(LOSSES.values())),
        pytest.approx(spread),
    )
    assert bits.standard_error == pytest.approx(spread / 2)
    alone = second.figures["held_out_loss"]
    assert alone is not None
    assert (alone.value, alone.standard_error) == (9.0, None)


def test_a_mean_of_what_one_run_lacks_is_none(tmp_path: Path) -> None:
    one, other = write(tmp_path, "a", 1), write(tmp_path, "a", 2)
    log = other / "events.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines() if '"evaluate"' not in line))
    (group,) = grouped(one, other)
    assert group.figures["held_out_loss"] is None
    assert group.figures["train_loss"] == mean_of([3.0, 3.0])


def test_what_has_no_mean_is_one_message(tmp_path: Path) -> None:
    one = write(tmp_path, "a", 1)
    with pytest.raises(CutawayError, match="are of one recipe and one seed, 1"):
        grouped(one, write(tmp_path, "a", 1))
    with pytest.raises(CutawayError, match=r"stands at step 3 and .* at step 2. A mean is over runs"):
        grouped(one, write(tmp_path, "a", 2, steps=2))
    bare = write(tmp_path, "a", 3)
    for content in (None, "[]", '{"seed": "x"}'):
        (bare / "recipe.json").unlink() if content is None else (bare / "recipe.json").write_text(content)
        with pytest.raises(CutawayError, match=r"recipe.json cannot be read .* Leave out --by-seed"):
            grouped(one, bare)
