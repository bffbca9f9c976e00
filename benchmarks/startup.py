"""How long a person waits. In: commands, typed. Out: seconds until the first token, and until the light commands end.

The first token is there when the terminal shows more than the prompt. What everybody must wait for who uses torch,
`python -c "import torch"`, takes turns with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from figure import Options, Row, alternate, at_most_more, sample, within
from terminal import CUTAWAY, PYTHON, seconds_to_end, seconds_to_print

PROMPT = "Once upon a time"
SECONDS = "{:.2f} s"
MOST_AFTER_TORCH, MOST_LIGHT = 0.8, 0.3
REPETITIONS = 7


def measure(options: Options) -> list[Row]:
    """The first token, `import cutaway`, `cutaway --help`; each after one turn to warm up."""
    generate = [CUTAWAY, "generate", options.model, PROMPT, "--max-tokens", "1"]
    sides = {
        "first": partial(seconds_to_print, generate, _is_past_prompt),
        "torch": partial(seconds_to_end, [PYTHON, "-c", "import torch"]),
        "import": partial(seconds_to_end, [PYTHON, "-c", "import cutaway"]),
        "help": partial(seconds_to_end, [CUTAWAY, "--help"]),
        "nothing": partial(seconds_to_end, [PYTHON, "-c", "pass"]),
    }
    seconds = {name: sample(values, SECONDS) for name, values in _take_turns(sides, options).items()}
    first = "cutaway generate: first token; peer: import torch"
    light = "; peer: python -c pass"
    return [
        at_most_more(first, seconds["first"], seconds["torch"], MOST_AFTER_TORCH),
        within(f"import cutaway{light}", seconds["import"], MOST_LIGHT, peer=seconds["nothing"]),
        within(f"cutaway --help{light}", seconds["help"], MOST_LIGHT, peer=seconds["nothing"]),
    ]


def _take_turns(sides: Mapping[str, Callable[[], float]], options: Options) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in sides}

    def turn(name: str) -> None:
        seconds[name].append(sides[name]())

    turns = [partial(turn, name) for name in sides]
    if not options.is_quick:
        alternate(1, *turns)
        for values in seconds.values():
            values.clear()
    alternate(options.repeat(REPETITIONS), *turns)
    return seconds


def _is_past_prompt(printed: bytes) -> bool:
    return len(printed) > len(PROMPT.encode())
