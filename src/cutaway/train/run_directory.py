"""A run directory: everything a run wrote. In: a path and a recipe. Out: places, and the newest complete checkpoint.

    recipe.json · events.jsonl · loss.png · tensorboard/ · tokenizer/ · cache/ · checkpoints/step-00000500/

A checkpoint is a model directory (see weights/checkpoint) with `train_state.safetensors` beside the weights.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import CutawayError
from ..weights.atomic import is_complete, write_file
from .recipe import Recipe

CHECKPOINT = re.compile(r"step-(\d{8})")


class RunDirectory:
    """The directory of one run. Raises CutawayError where it holds another run or something else."""

    def __init__(self, path: Path, recipe: Recipe, *, is_fresh: bool = False) -> None:
        self.path = path
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self._claim(recipe, is_fresh)

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step belongs."""
        return self.checkpoints / f"step-{step:08}"

    def newest(self) -> tuple[int, Path] | None:
        """Step and place of the newest complete checkpoint, or None."""
        found = complete_checkpoints(self.path)
        return found[-1] if found else None

    def prune(self, keep: int) -> None:
        """Leave the newest `keep` checkpoints."""
        for _, path in complete_checkpoints(self.path)[:-keep]:
            shutil.rmtree(path, ignore_errors=True)

    def _claim(self, recipe: Recipe, is_fresh: bool) -> None:
        facts, file = _facts(recipe), self.path / "recipe.json"
        if is_fresh and file.exists():
            self._clear()
        if file.exists():
            _refuse_other(json.loads(file.read_text("utf-8")), facts, self.path)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise CutawayError(
                f"{self.path} exists and holds no Cutaway run. Name an empty or new directory with --out; nothing was changed."
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(facts, indent=1).encode("utf-8"))

    def _clear(self) -> None:
        for name in ("checkpoints", "tensorboard", "tokenizer", "cache"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("recipe.json", "events.jsonl", "loss.png"):
            (self.path / name).unlink(missing_ok=True)


def complete_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Steps and places of all complete checkpoints below a run directory, oldest first."""
    found = []
    for path in (run / "checkpoints").glob("step-*"):
        match = CHECKPOINT.fullmatch(path.name)
        if match and is_complete(path):
            found.append((int(match[1]), path))
    return sorted(found)


def _facts(recipe: Recipe) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(recipe), default=str)))


def _refuse_other(stored: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    changed = sorted(set(_flat(stored).items()) ^ set(_flat(wanted).items()))
    names = sorted({name for name, _ in changed})
    if not names:
        return
    before, after = _flat(stored).get(names[0]), _flat(wanted).get(names[0])
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    raise CutawayError(
        f"{path} holds another run: {names[0]} was {before} there and is {after} now{more}. Choose another directory with "
        "--out, or start over with --fresh (the old run is then deleted)."
    )


def _flat(table: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(table, dict):
        parts = ((f"{prefix}.{key}" if prefix else key, value) for key, value in table.items())
    elif isinstance(table, list):
        parts = ((f"{prefix}[{index}]", value) for index, value in enumerate(table))
    else:
        return {prefix: json.dumps(table)}
    return {name: text for key, value in parts for name, text in _flat(value, key).items()}
