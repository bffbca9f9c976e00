"""A run directory: everything a run wrote. In: a path and a recipe. Out: places, and the newest complete checkpoint.

    recipe.json · events.jsonl · loss.png · tensorboard/ · cache/ · lock · checkpoints/step-00000500/ · averaged/

A checkpoint is a model directory (see weights/checkpoint) with `train_state.safetensors` beside the weights. A directory that
is refused is not touched; `recipe.json` is written last, when nothing about the run can be refused any more.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from ..errors import CutawayError
from ..strict import build
from ..weights.atomic import is_complete, write_file
from .events import read_events
from .recipe import Recipe

CHECKPOINT = re.compile(r"step-(\d{8})")
CACHE, LOCK, AVERAGED = "cache", "lock", "averaged"
DAMAGED = "damaged-"


class RunDirectory:
    """The directory of one run. `open` it before anything is written, and `claim` it when the run is sure to begin."""

    def __init__(self, path: Path, recipe: Recipe, *, is_fresh: bool = False) -> None:
        """Look only. is_fresh: whatever run is there counts as absent, and goes when this one is claimed.

        Raises CutawayError where there is another run, something else, or a run none of whose checkpoints is whole.
        """
        self.path, self.recipe, self.is_fresh = path, recipe, is_fresh
        self.recipe_file, self.events = path / "recipe.json", path / "events.jsonl"
        self.checkpoints, self.cache = path / "checkpoints", path / CACHE
        self.averaged = path / AVERAGED
        self._lock: IO[str] | None = None
        self._refuse_others()
        self.damaged = [] if is_fresh else self._damaged()

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step belongs."""
        return self.checkpoints / f"step-{step:08}"

    def newest(self) -> tuple[int, Path] | None:
        """Step and place of the newest complete checkpoint, or None; None too while an old run waits to be replaced."""
        found = [] if self.is_fresh else complete_checkpoints(self.path)
        return found[-1] if found else None

    @property
    def is_finished(self) -> bool:
        """Whether the run is over: its last step is saved, and its log says so."""
        newest = self.newest()
        if newest is None or newest[0] < self.recipe.training.steps:
            return False
        return any(event.kind == "end" for event in read_events(self.events))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Make and hold the directory; if the block raises a CutawayError, what was made for it is gone again.

        Raises CutawayError where it cannot be made, or another process trains in it.
        """
        was_there = self.path.exists()
        self._make()
        try:
            yield
        except CutawayError:
            self.close()
            if not self.recipe_file.exists():
                shutil.rmtree(self.cache, ignore_errors=True)
                (self.path / LOCK).unlink(missing_ok=True)
                if not was_there:
                    with suppress(OSError):
                        self.path.rmdir()
            raise

    def claim(self) -> None:
        """From here on this is the recipe's run. An old run goes if asked; damaged checkpoints are set aside."""
        if self.is_fresh:
            self._clear()
            self.is_fresh = False
        for path in self.damaged:
            aside = path.with_name(DAMAGED + path.name)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        write_file(self.recipe_file, json.dumps(_facts(self.recipe), indent=1).encode("utf-8"))

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def prune(self, keep: int) -> None:
        """Leave the newest `keep` checkpoints."""
        for _, path in complete_checkpoints(self.path)[:-keep]:
            shutil.rmtree(path, ignore_errors=True)

    def _refuse_others(self) -> None:
        if self.recipe_file.exists():
            if not self.is_fresh:
                _refuse_other(_read_recipe(self.recipe_file), self.recipe, self.path)
        elif self.path.exists() and not self._is_empty():
            raise CutawayError(
                f"{self.path} exists and holds no Cutaway run. Name an empty or new directory with --out; nothing was changed."
            )

    def _is_empty(self) -> bool:
        """Whether nothing is there but what a run leaves that was killed before it was claimed."""
        return self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {CACHE, LOCK}

    def _damaged(self) -> list[Path]:
        """Checkpoints that are not whole and newer than the newest that is; the older ones are what pruning left."""
        newest = self.newest()
        paths = sorted(path for path in self.checkpoints.glob("step-*") if CHECKPOINT.fullmatch(path.name))
        damaged = [path for path in paths if not is_complete(path) and (newest is None or path > newest[1])]
        if damaged and newest is None:
            raise CutawayError(
                f"No checkpoint in {self.path} is whole: {damaged[-1].name} is cut short or incomplete. Copy it again from "
                "where it is whole, or start over with --fresh (this run is then deleted)."
            )
        return damaged

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("a")
        except OSError as error:
            raise CutawayError(
                f"Cannot write to {self.path}: {error.strerror}. Name a directory that can be written with --out."
            ) from error
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise CutawayError(
                f"Another process trains in {self.path}. Wait for it or stop it, or name another directory with --out."
            ) from None

    def _clear(self) -> None:
        for name in ("checkpoints", "tensorboard", AVERAGED):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("recipe.json", "events.jsonl", "loss.png"):
            (self.path / name).unlink(missing_ok=True)


def newest_model(run: Path) -> Path | None:
    """What a run came to: the mean of its last checkpoints where it made one, else its newest complete checkpoint."""
    if is_complete(run / AVERAGED):
        return run / AVERAGED
    found = complete_checkpoints(run)
    return found[-1][1] if found else None


def complete_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Steps and places of all complete checkpoints below a run directory, oldest first."""
    found = []
    for path in (run / "checkpoints").glob("step-*"):
        match = CHECKPOINT.fullmatch(path.name)
        if match and is_complete(path):
            found.append((int(match[1]), path))
    return sorted(found)


def _facts(recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the run, by key; not where its files lie on this machine."""

    facts = dict(_without_folder(json.loads(json.dumps(asdict(recipe), default=str))))
    return {**facts, "base": None if recipe.base is None else Path(recipe.base).name}


def _without_folder(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folder(part) for key, part in value.items() if key != "folder"}
    return [_without_folder(part) for part in value] if isinstance(value, list) else value


def _read_recipe(file: Path) -> Recipe:
    try:
        return build(Recipe, _without_folder(json.loads(file.read_text("utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CutawayError(
            f"{file} is damaged, or of another version of Cutaway ({error}). Name another directory with --out, or start "
            "over with --fresh (the old run is then deleted)."
        ) from error


def _refuse_other(stored: Recipe, wanted: Recipe, path: Path) -> None:
    before, after = (_flat(_facts(replace(recipe, description="", licence=""))) for recipe in (stored, wanted))
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not names:
        return
    first = names[0]
    more = f" ({len(names) - 1} more differ: {', '.join(names[1:4])})" if len(names) > 1 else ""
    raise CutawayError(
        f"{path} holds another run: {first} was {before.get(first, 'absent')} there and is {after.get(first, 'absent')} "
        f"now{more}. Choose another directory with --out, or start over with --fresh (the old run is then deleted)."
    )


def _flat(table: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(table, dict):
        parts = ((f"{prefix}.{key}" if prefix else key, value) for key, value in table.items())
    elif isinstance(table, list):
        parts = ((f"{prefix}[{index}]", value) for index, value in enumerate(table))
    else:
        return {prefix: json.dumps(table)}
    return {name: text for key, value in parts for name, text in _flat(value, key).items()}
