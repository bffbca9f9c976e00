"""Runs of one recipe that differ in the seed alone. In: run directories and their summaries. Out: means, with standard errors.

standard error = √(Σ (x − mean)² / (n − 1)) / √n    over n seeds: how far the mean would be off with other seeds
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CutawayError
from .summary import RunSummary

APART = ("seed", "description", "licence")
FIGURES = (
    "train_loss", "held_out_loss", "best_held_out_loss", "bits_per_byte", "best_bits_per_byte", "tokens_per_second", "seconds"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """value: the mean over seeds. standard_error: None of one seed."""

    value: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedGroup:
    """Runs of one recipe. runs: their places. first: one of the summaries, for what all of them share. figures: by the names of
    FIGURES; None where a run lacks it."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    first: RunSummary
    figures: dict[str, Mean | None]


def group_by_seed(directories: Sequence[Path], summaries: Sequence[RunSummary]) -> list[SeedGroup]:
    """The groups, in the order of their first runs.

    Raises CutawayError for a run without recipe.json, two runs of one recipe and one seed, and runs of one recipe that have not
    come equally far.
    """
    groups: dict[str, list[int]] = {}
    seeds = []
    for number, directory in enumerate(directories):
        recipe, seed = _recipe(directory)
        groups.setdefault(recipe, []).append(number)
        seeds.append(seed)
    found = []
    for numbers in groups.values():
        own = [summaries[number] for number in numbers]
        _check([directories[number] for number in numbers], [seeds[number] for number in numbers], own)
        found.append(
            SeedGroup(
                name=own[0].name,
                runs=tuple(str(directories[number]) for number in numbers),
                seeds=tuple(seeds[number] for number in numbers),
                first=own[0],
                figures={name: _mean([getattr(each, name) for each in own]) for name in FIGURES},
            )
        )
    return found


def mean_of(values: Sequence[float]) -> Mean:
    """The mean and its standard error. values: at least one."""
    value = sum(values) / len(values)
    if len(values) == 1:
        return Mean(value=value, standard_error=None)
    spread = sum((each - value) ** 2 for each in values) / (len(values) - 1)
    return Mean(value=value, standard_error=math.sqrt(spread / len(values)))


def _mean(values: Sequence[float | None]) -> Mean | None:
    present = [value for value in values if value is not None]
    return mean_of(present) if len(present) == len(values) else None


def _recipe(directory: Path) -> tuple[str, int]:
    """What decides a run but for its seed, as a text to compare, and the seed."""
    path = directory / "recipe.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
        seed = int(facts["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CutawayError(
            f"{path} cannot be read ({type(error).__name__}), so nobody can tell which runs are of one recipe. Leave out "
            "--by-seed."
        ) from error
    return json.dumps({key: value for key, value in facts.items() if key not in APART}, sort_keys=True), seed


def _check(directories: Sequence[Path], seeds: Sequence[int], summaries: Sequence[RunSummary]) -> None:
    for number, seed in enumerate(seeds):
        if seed in seeds[:number]:
            raise CutawayError(
                f"{directories[seeds.index(seed)]} and {directories[number]} are of one recipe and one seed, {seed}. Name one of "
                "them."
            )
    for directory, each in zip(directories, summaries, strict=True):
        if each.step != summaries[0].step:
            raise CutawayError(
                f"{directories[0]} stands at step {summaries[0].step:,} and {directory} at step {each.step:,}. A mean is over "
                "runs that have come equally far."
            )
