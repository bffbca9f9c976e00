"""The event log of a run. In: what happened. Out: one JSON object a line, flushed at once; displays only read it.

kinds: start, step, evaluate, sample, save, stop, end. A half-written last line (a killed run) is passed over when read, and
what lies beyond the checkpoint that a run resumes from is cut off, so that a resumed log equals an uninterrupted one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..weights.atomic import write_file

Kind = Literal["start", "step", "evaluate", "sample", "save", "stop", "end"]


@dataclass(frozen=True, slots=True)
class TrainEvent:
    """One thing that happened at a step. values: numbers and texts, JSON-able."""

    kind: Kind
    step: int
    values: dict[str, Any]

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps({"kind": self.kind, "step": self.step, **self.values}, ensure_ascii=False) + "\n"

    @staticmethod
    def from_line(line: str) -> TrainEvent:
        """The event that `to_line` wrote."""
        values = json.loads(line)
        return TrainEvent(values.pop("kind"), values.pop("step"), values)


class EventLog:
    """The log of one run, open for appending."""

    def __init__(self, path: Path, *, resume_at: int) -> None:
        kept = [event for event in read_events(path) if event.step <= resume_at and event.kind != "stop"]
        write_file(path, "".join(event.to_line() for event in kept).encode("utf-8"))
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: TrainEvent) -> TrainEvent:
        """Append and flush; the event comes back for whoever shows it."""
        self._file.write(event.to_line())
        self._file.flush()
        return event

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path) -> Iterator[TrainEvent]:
    """All whole events of a log, in order; none if there is no log."""
    if not path.exists():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            yield TrainEvent.from_line(line)
        except (json.JSONDecodeError, KeyError):
            continue
