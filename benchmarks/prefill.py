"""Reading a long prompt in portions. In: a shape, random weights. Out: memory beside weights and cache, and time.

Every reading is a process of its own, for a process's peak of memory never falls.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from figure import Options, Row, alternate, at_most_share, no_higher, sample
from worker import Worker

SIDE, REPETITIONS = "sides.prefill", 3
SIZE = {"num_layers": 4, "d_model": 384, "vocab_size": 4000}
SMALL = {"num_layers": 1, "d_model": 192, "vocab_size": 64}
SIZES = (2048, 8192)
CHUNK = 512
MOST_TIME = 0.25


def measure(options: Options) -> list[Row]:
    """Most memory and seconds of both ways, for a prompt and one of four times as many tokens."""
    sizes, chunk = ((64, 256), 16) if options.is_quick else (SIZES, CHUNK)
    found: dict[tuple[int, int | None], list[dict[str, float]]] = {(n, way): [] for n in sizes for way in (chunk, None)}

    def turn(num_tokens: int, way: int | None) -> None:
        found[num_tokens, way].append(_read(options, num_tokens, way))

    alternate(options.repeat(REPETITIONS), *(partial(turn, *key) for key in found))
    rows = []
    for num_tokens in sizes:
        sides = (found[num_tokens, chunk], found[num_tokens, None])
        memory = [sample([each["bytes"] / 1e6 for each in side], "{:.0f} MB") for side in sides]
        seconds = [sample([each["seconds"] for each in side], "{:.2f} s") for side in sides]
        name = f"{num_tokens:,} tokens by {chunk}; peer: in one pass"
        rows.append(no_higher(f"memory beside weights and cache, {name}", *memory))
        rows.append(at_most_share(f"seconds, {name}", *seconds, MOST_TIME))
    return rows


def _read(options: Options, num_tokens: int, chunk: int | None) -> dict[str, float]:
    settings: dict[str, Any] = SMALL if options.is_quick else SIZE
    with Worker(SIDE, "read_once", **settings, num_tokens=num_tokens, chunk=chunk) as side:
        return dict(side.ask())
