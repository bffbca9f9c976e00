"""A comparison in a terminal and as JSON. In: rows of `Compared`. Out: two tables with the goals beside them; a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...lens.numerals import chance, count
from ...runtime.roofline import Machine
from ..inspect.characters import QUIET, make_table, put, say, stage
from .goals import GOALS_FOR, MOST_START, START_OF, Goal, goal_of
from .peers import Peer
from .show import machine_dict, machine_says, show_start, start_dict, work_dict
from .start import Started
from .versus import Compared, Plan, Rates, Spread

MOST_IDLE = 0.02  # of a core, that a side may take while the other runs


@dataclass(frozen=True, kw_only=True)
class Row:
    """A comparison of one model in one precision."""

    name: str
    compared: Compared

    @property
    def goal(self) -> Goal:
        """What is aimed at."""
        return goal_of(self.name, self.compared.bits, self.compared.peer)


def show_versus(
    rows: Sequence[Row], machine: Machine, peer: Peer, plan: Plan, started: Sequence[Started], console: Console
) -> None:
    """Print the machine, what was written, what was read, and what must be known of it. rows: not empty."""
    kinds = {row.compared.bits: row.compared.kind for row in rows}
    stage(
        console,
        f"Cutaway and {peer.name} {peer.version}",
        *machine_says(machine),
        f"Each side on {count(plan.threads, 'thread')}, the same weights, {plan.turns} turns of {plan.num_prompt} tokens read "
        f"and {plan.num_written} written. A ratio is the median of the turns, its range in brackets. The numbers of {peer.name}: "
        f"{', '.join(f'{kind} for {bits}' for bits, kind in kinds.items())} bits.",
    )
    compared = [row for row in rows if row.compared.void is None]
    if compared:
        stage(
            console,
            f"Tokens a second, written after {plan.num_prompt}",
            "Memory: bytes moved, as a share of what this machine reads, measured before and after each turn; the median.",
        )
        put(console, _decode_table(compared, peer))
        console.print()
        stage(
            console,
            f"Tokens a second, {plan.num_prompt} of them read at once",
            "Limit: how near it comes to the least time that memory and arithmetic allow.",
        )
        put(console, _prefill_table(compared, peer))
        console.print()
    told = notes(rows, machine)
    for sentence in told:
        say(console, sentence, QUIET)
    if told and started:
        console.print()
    for each in started:
        show_start(each, console)
        if each.name == START_OF:
            say(console, f"The goal is at most {MOST_START:g} s{mark(each.median <= MOST_START)}.", QUIET)


def notes(rows: Sequence[Row], machine: Machine) -> list[str]:
    """What must be said beside the figures."""
    found = list(dict.fromkeys(f"{row.name}: {row.compared.void}" for row in rows if row.compared.void is not None))
    if any(row.goal != Goal() for row in rows) and not set(GOALS_FOR) <= set(machine.instructions):
        found.append(f"The goals were set for a processor with {', '.join(GOALS_FOR)}, which this one lacks.")
    fitting = [row for row in rows if row.compared.ours is not None and row.compared.ours.fits_cache]
    if fitting:
        names = ", ".join(f"{row.name} in {row.compared.bits} bits" for row in fitting)
        found.append(f"In the processor's cache, and so not bound by memory: {names}.")
    idle = max((row.compared.idle for row in rows), default=0.0)
    if idle > MOST_IDLE:
        found.append(f"A side took {chance(idle)} of a core while the other ran: the figures suffer.")
    return found


def versus_dict(
    rows: Sequence[Row], machine: Machine, peer: Peer, plan: Plan, started: Sequence[Started]
) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        **machine_dict(machine, min(row.compared.bits for row in rows)),
        "peer": {"name": peer.name, "version": peer.version},
        "plan": dict(vars(plan)),
        "comparisons": [_row_dict(row) for row in rows],
        "start": [start_dict(each) for each in started],
        "notes": notes(rows, machine),
    }


def mark(is_met: bool) -> str:
    """Whether a goal is met, in one sign."""
    return " ✓" if is_met else " ✗"


def _decode_table(rows: Sequence[Row], peer: Peer) -> Table:
    table = make_table("<", ">ours", f">{peer.name}", ">ratio", "<goal", ">memory", "<goal")
    for row in rows:
        rates = row.compared.decode
        assert rates is not None, "rows that were compared"
        share = row.compared.read_share.median
        goal = "" if row.goal.share is None else f"≥ {row.goal.share:.0%}{mark(share >= row.goal.share)}"
        table.add_row(*_cells(row, rates, row.goal.decode), chance(share), goal)
    return table


def _prefill_table(rows: Sequence[Row], peer: Peer) -> Table:
    table = make_table("<", ">ours", f">{peer.name}", ">ratio", "<goal", ">limit")
    for row in rows:
        ours, rates = row.compared.ours, row.compared.prefill
        assert ours is not None, "rows that were compared"
        assert rates is not None, "rows that were compared"
        table.add_row(*_cells(row, rates, row.goal.prefill), chance(ours.prefill.share(ours.machine)))
    return table


def _cells(row: Row, rates: Rates, goal: float | None) -> list[str | Text]:
    ratio = rates.ratio
    return [
        f"{row.name} {row.compared.bits}",
        _rate(rates.ours.median),
        _rate(rates.peer.median),
        Text(f"{ratio.median:.2f} ({ratio.least:.2f}–{ratio.most:.2f})", "bold"),
        "" if goal is None else f"≥ {goal:g}{mark(ratio.median >= goal)}",
    ]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _row_dict(row: Row) -> dict[str, Any]:
    compared, goal = row.compared, row.goal
    ours = compared.ours
    told: dict[str, Any] = {
        "model": row.name,
        "bits": compared.bits,
        "kind": compared.kind,
        "difference": compared.difference,
        "void": compared.void,
    }
    if ours is None or compared.decode is None or compared.prefill is None:
        return told
    read = {"read_share": _spread(compared.read_share), "read_goal": goal.share}
    return {
        **told,
        "idle": compared.idle,
        "fits_cache": ours.fits_cache,
        "weight_bytes": ours.precision.held,
        "decode": {**work_dict(ours, ours.decode), **_rates_dict(compared.decode, goal.decode), **read},
        "prefill": {**work_dict(ours, ours.prefill), **_rates_dict(compared.prefill, goal.prefill)},
    }


def _rates_dict(rates: Rates, goal: float | None) -> dict[str, Any]:
    ratio = rates.ratio
    return {
        "ours": _spread(rates.ours),
        "peer": _spread(rates.peer),
        "ratio": _spread(ratio),
        "goal": goal,
        "is_met": None if goal is None else ratio.median >= goal,
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {"median": spread.median, "least": spread.least, "most": spread.most, "values": list(spread.values)}
