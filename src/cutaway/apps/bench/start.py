"""How long a model takes to its first token. In: a name, bits. Out: seconds of each stage, warm.

Each start is a process of its own, which has imported everything before the clock runs; the file is in the system's cache. A
shape is written as a checkpoint in bf16 first.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .ours import Ours, Start
from .shapes import architecture_of, is_shape
from .versus import check_room
from .worker import Worker

STARTS = 3


@dataclass(frozen=True, kw_only=True)
class Started:
    """stages: seconds of load and first_token, the medians of some starts; seconds: of each start, whole."""

    name: str
    bits: int
    stages: dict[str, float]
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of a start."""
        return statistics.median(self.seconds)


def measure_start(
    name: str, bits: int, threads: int, *, starts: int = STARTS, open_side: Callable[..., Worker] = Worker
) -> Started:
    """Start a model some times, after one start that brings its file into the cache.

    Raises CutawayError as opening does, and where there is no room for the checkpoint of a shape.
    """
    with tempfile.TemporaryDirectory(prefix="cutaway-bench-") as folder:
        place = name
        if is_shape(name):
            check_room(architecture_of(name), {16}, Path(folder))
            place = str(Path(folder) / "model")
            with open_side(Ours, name, threads) as ours:
                ours.ask("write_checkpoint", place, "bfloat16")
        found = []
        for _ in range(1 + starts):
            with open_side(Start, threads) as side:
                found.append(side.ask("start", place, bits))
        stages = {stage: statistics.median(each[stage] for each in found[1:]) for stage in found[0]}
        return Started(name=name, bits=bits, stages=stages, seconds=tuple(sum(each.values()) for each in found[1:]))
