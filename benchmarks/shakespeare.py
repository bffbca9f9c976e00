"""The recipes that a newcomer trains first. In: `cutaway train RECIPE`, typed. Out: seconds until it ends, and the held-out loss.

Everything counts: starting Python, reading the text, making the tokenizer, training, samples, checkpoints, the curve. The
loss is over the whole validation split (the last tenth of the text), every character scored once, as the run logs it; it is
counted again from the saved checkpoint by transformers and a few plain lines, which must agree.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figure import BenchmarkError, Options, Row, sample, within
from terminal import CUTAWAY, seconds_to_end
from worker import Worker

NATS, SECONDS = "{:.4f} nats", "{:.1f} s"
LARGEST_DIFFERENCE = 1e-4
QUICK_CHANGES = ("training.steps=20", "schedule.warmup_steps=5")


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe, the loss and the seconds to stay within, and how often it is trained."""

    recipe: str
    loss: float
    is_below: bool
    seconds: float
    repetitions: int


SMALL = Plan("shakespeare", 1.88, False, 45.0, 5)
LARGE = Plan("shakespeare-large", 1.6, True, 300.0, 1)


@dataclass(frozen=True, slots=True)
class Trained:
    """One training: wall time, the last evaluation in the log, and the loss counted again."""

    seconds: float
    loss: float
    recounted: float


def measure(options: Options) -> list[Row]:
    """Seconds and loss of the recipe for the first minute."""
    return _measure(SMALL, options)


def measure_large(options: Options) -> list[Row]:
    """Seconds and loss of the recipe for five minutes."""
    return _measure(LARGE, options)


def _measure(plan: Plan, options: Options) -> list[Row]:
    changes = QUICK_CHANGES if options.is_quick else ()
    _train(plan.recipe, QUICK_CHANGES)  # so that what Python keeps from one start to the next is there
    runs = [_train(plan.recipe, changes) for _ in range(options.repeat(plan.repetitions))]
    name, losses = f"cutaway train {plan.recipe}", sample([run.loss for run in runs], NATS)
    differences = sample([abs(run.loss - run.recounted) for run in runs], "{:.1e} nats")
    return [
        within(f"{name}: seconds after Enter", sample([run.seconds for run in runs], SECONDS), plan.seconds),
        within(f"{name}: held-out loss", losses, plan.loss, is_strict=plan.is_below),
        within(f"{name}: difference when counted again", differences, LARGEST_DIFFERENCE),
    ]


def _train(recipe: str, changes: Sequence[str]) -> Trained:
    folder = str(_folder_of(recipe))
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        seconds = seconds_to_end([CUTAWAY, "train", recipe, *changes, "--out", str(run)])
        logged = _last(run / "events.jsonl", "evaluate")
        checkpoint = _last(run / "events.jsonl", "end")["checkpoint"]
        with Worker("sides.shakespeare", "recount", run=str(run), checkpoint=checkpoint, folder=folder) as plain:
            recounted = plain.ask()
    if recounted["tokens"] != logged["tokens"]:
        raise BenchmarkError(f"The run scored {logged['tokens']:,.0f} tokens; there are {recounted['tokens']:,}.")
    return Trained(seconds, logged["loss"], recounted["loss"])


def _folder_of(recipe: str) -> Path:
    package = find_spec("cutaway")
    assert package is not None, "cutaway is installed"
    assert package.origin is not None, "cutaway is a package"
    found = list(Path(package.origin).parent.glob(f"recipes/*/{recipe}.toml"))
    if not found:
        raise BenchmarkError(f"There is no bundled recipe '{recipe}'.")
    return found[0].parent


def _last(log: Path, kind: str) -> dict[str, Any]:
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    found = [event for event in events if event["kind"] == kind]
    if not found:
        raise BenchmarkError(f"{log} has no event of the kind '{kind}'.")
    return dict(found[-1])
