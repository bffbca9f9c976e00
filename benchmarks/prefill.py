"""Reading a long prompt in portions. In: a shape, random weights. Out: memory beside weights and cache, and time.

Every reading is a process of its own, for a process's peak of memory never falls.
"""

from __future__ import annotations

from typing import Any

from figure import Options, Row, alternate, at_most_share, no_higher, sample, within
from worker import Worker

SIDE, REPETITIONS = "sides.prefill", 5
SIZE = {"num_layers": 4, "d_model": 384, "vocab_size": 4000}
SMALL = {"num_layers": 1, "d_model": 192, "vocab_size": 64}
SHORT, TIMES = 2048, 4
CHUNK = 512
MOST_GROWTH, MOST_TIME = 1.25, 0.10


def measure(options: Options) -> list[Row]:
    """Most memory of both ways, how it grows with the prompt, and seconds."""
    short = 64 if options.is_quick else SHORT
    found: dict[str, list[dict[str, float]]] = {"chunks": [], "whole": [], "long": []}

    def turn(name: str, num_tokens: int, chunk: int | None) -> None:
        found[name].append(_read(options, num_tokens, chunk))

    chunk = 16 if options.is_quick else CHUNK
    alternate(
        options.repeat(REPETITIONS),
        lambda: turn("chunks", short, chunk),
        lambda: turn("whole", short, None),
        lambda: turn("long", TIMES * short, chunk),
    )
    memory = {name: sample([each["bytes"] / 1e6 for each in rows], "{:.0f} MB") for name, rows in found.items()}
    seconds = {name: sample([each["seconds"] for each in rows], "{:.2f} s") for name, rows in found.items()}
    growth = [a["bytes"] / b["bytes"] for a, b in zip(found["long"], found["chunks"], strict=True)]
    name = f"reading {short:,} tokens by {chunk}"
    return [
        no_higher(f"{name}: memory beside weights and cache, against one pass", memory["chunks"], memory["whole"]),
        within(f"{name}: that memory for {TIMES} times as many", sample(growth, "{:.2f}×"), MOST_GROWTH),
        at_most_share(f"{name}: seconds, against one pass", seconds["chunks"], seconds["whole"], MOST_TIME),
    ]


def _read(options: Options, num_tokens: int, chunk: int | None) -> dict[str, float]:
    settings: dict[str, Any] = SMALL if options.is_quick else SIZE
    with Worker(SIDE, "read_once", **settings, num_tokens=num_tokens, chunk=chunk) as side:
        return dict(side.ask())
