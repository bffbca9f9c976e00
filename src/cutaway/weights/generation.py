"""How a checkpoint wants to be asked. In: its directory and a task. Out: what its files say; None where they say nothing.

generation_config.json comes before config.json, and the task's own table, `task_specific_params` of config.json, before both.
Lengths count as these files count: with the token that a decoder begins with, but without a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import CutawayError
from ..strict import build
from .files import read_json

KEYS: Final = {
    "prefix": "prefix",
    "num_beams": "num_beams",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat",
    "min_length": "min_length",
    "max_length": "max_length",
    "forced_bos_token_id": "first_id",
    "forced_eos_token_id": "last_id",
}


@dataclass(frozen=True, kw_only=True)
class Asking:
    """prefix: stands before every source. no_repeat: 0 allows repeats. first_id, last_id: see `Constraints`. Rest: see `Beam`."""

    prefix: str | None = None
    num_beams: int | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None
    repetition_penalty: float | None = None
    no_repeat: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    first_id: int | None = None
    last_id: int | None = None


def read_asking(place: Path | None, task: str) -> Asking:
    """What the files of a checkpoint say about a task. place: None, or what is no directory, says nothing.

    Raises CutawayError for a value of the wrong kind, with its file.
    """
    if place is None or not (place / "config.json").is_file():
        return Asking()
    config = read_json(place / "config.json")
    generation = place / "generation_config.json"
    tables = [config, read_json(generation) if generation.is_file() else {}, _of_task(config, task)]
    said: dict[str, Any] = {}
    for table in tables:
        said |= {ours: _single(table[theirs]) for theirs, ours in KEYS.items() if table.get(theirs) is not None}
    try:
        return build(Asking, said)
    except CutawayError as error:
        raise CutawayError(f"{place} says how it is to be asked, and one value is wrong: {error}") from error


def _of_task(config: dict[str, Any], task: str) -> dict[str, Any]:
    tables = config.get("task_specific_params")
    table = tables.get(task) if isinstance(tables, dict) else None
    return table if isinstance(table, dict) else {}


def _single(value: Any) -> Any:
    """Ids stand alone or as a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
