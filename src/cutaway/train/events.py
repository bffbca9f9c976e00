"""The event log of a run. In: what happened. Out: one JSON object a line, flushed at once; displays only read it.

kinds: start, step, evaluate, sample, save, stop, end; and resume, which is shown and never written. A half-written last line
(a killed run) is passed over when read. What lies beyond the checkpoint that a run resumes from is cut off, and so is a stop,
so that a resumed log equals an uninterrupted one but for times.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import CutawayError
from ..weights.atomic import write_file

Kind = Literal["start", "resume", "step", "evaluate", "sample", "save", "stop", "end"]
UNTIL_SAVED = ("start", "step", "evaluate", "sample")


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
        """The event that `to_line` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        values = dict(json.loads(line))
        return TrainEvent(values.pop("kind"), values.pop("step"), values)


class EventLog:
    """The log of one run, open for appending."""

    def __init__(self, path: Path, *, resume_at: int) -> None:
        """resume_at: the step of the checkpoint that the run goes on from; 0: the log begins anew.

        Kept is what came before that checkpoint was saved. Raises CutawayError where it cannot be written.
        """
        self.path = path
        self.kept = [event for event in read_events(path) if _came_before(event, resume_at)]
        write_file(path, "".join(event.to_line() for event in self.kept).encode("utf-8"))
        self._file = path.open("ab", buffering=0)  # nothing is left to be written when the disk is full at the end

    def write(self, event: TrainEvent) -> TrainEvent:
        """Append and flush; the event comes back for whoever shows it. Raises CutawayError if the disk is full."""
        line = event.to_line().encode("utf-8")
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._refused(error) from error
        return event

    def sync(self) -> None:
        """Make what was written outlast a power cut, as a checkpoint does. Raises CutawayError if the system refuses."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refused(self, error: OSError) -> CutawayError:
        return CutawayError(
            f"Cannot write to {self.path}: {error.strerror}. Free some space and run the same command again: it goes on "
            "from the last checkpoint."
        )


def read_events(path: Path) -> Iterator[TrainEvent]:
    """All whole events of a log, in order; none if there is no log."""
    if not path.exists():
        return
    # Not splitlines: a sample may hold U+2028 and its like, which JSON leaves as they are.
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        try:
            yield TrainEvent.from_line(line)
        except (ValueError, KeyError, TypeError):
            continue


def _came_before(event: TrainEvent, resume_at: int) -> bool:
    if event.kind in ("stop", "end") or resume_at == 0:
        return False
    return event.step < resume_at or (event.step == resume_at and event.kind in UNTIL_SAVED)
