"""Reading and writing at the speed of the machine. In: `cutaway bench --vs llama.cpp`. Out: its table, with the goals.

The command runs in the environment with the peers (`make test-peers` makes it), where this one has no llama.cpp.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figure import BenchmarkError, Options, Row, Sample, reaches, sample, within

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
COMMAND = ("-m", "cutaway", "bench", "--vs", "llama.cpp", "--json")
QUICK = ("llama-15m", "--bits", "8,4", "--quick", "--start")
RATE, SHARE, SECONDS = "{:,.1f} tokens/s", "{:.0%}", "{:.2f} s"
MOST_START = 3.0  # seconds, of the model of 1.1 B parameters


def measure(options: Options) -> list[Row]:
    """Rows of what was read, written and started. Raises BenchmarkError where llama.cpp is nowhere, or the command fails."""
    told = ask(QUICK if options.is_quick else ())
    rows = [Row(name="this machine reads", ours=sample([told["read_gbps"]], "{:,.1f} GB/s"))]
    for comparison in told["comparisons"]:
        rows += rows_of(comparison)
    return [*rows, *(start_row(start) for start in told["start"])]


def ask(words: Sequence[str]) -> dict[str, Any]:
    """What the command prints."""
    python = sys.executable if find_spec("llama_cpp") is not None else str(PEERS)
    if not Path(python).exists():
        raise BenchmarkError("There is no llama.cpp here. `make test-peers` makes an environment that has it.")
    done = subprocess.run([python, *COMMAND, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0 and not done.stdout.strip():
        raise BenchmarkError(done.stderr.strip()[-2000:])
    return dict(json.loads(done.stdout))


def rows_of(told: dict[str, Any]) -> list[Row]:
    """Written, read, and the share of the machine's read bandwidth. Raises BenchmarkError for a void comparison."""
    if told["void"] is not None:
        raise BenchmarkError(f"{told['model']}: {told['void']}")
    name = f"{told['model']}, {told['bits']} bits"
    cached = ", in cache" if told["fits_cache"] else ""
    share = sample(told["decode"]["read_share"]["values"], SHARE)
    goal = told["decode"]["read_goal"]
    shared = f"… its bytes a second, of what the machine reads beside{cached}"
    return [
        rates_row(f"{name}: written", told["decode"]),
        Row(name=shared, ours=share) if goal is None else reaches(shared, share, goal),
        rates_row(f"{name}: read", told["prefill"]),
    ]


def rates_row(name: str, told: dict[str, Any]) -> Row:
    """Tokens a second of both; the ratio is the median of the turns, with its range."""
    ratio, goal = told["ratio"], told["goal"]
    return Row(
        name=name,
        ours=Sample(tuple(told["ours"]["values"]), RATE),
        peer=Sample(tuple(told["peer"]["values"]), RATE),
        ratio=f"{ratio['median']:.2f}× ({ratio['least']:.2f}–{ratio['most']:.2f})",
        goal="" if goal is None else f"≥ {goal:g}×",
        is_met=told["is_met"],
    )


def start_row(told: dict[str, Any]) -> Row:
    """Seconds to the first token."""
    name = f"{told['model']}, {told['bits']} bits: load and first token, warm"
    seconds = sample(told["all"], SECONDS)
    return within(name, seconds, MOST_START) if told["model"] == "llama-1.1b" else Row(name=name, ours=seconds)
