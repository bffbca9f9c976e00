"""Rows as people and programs read them. In: rows by figure. Out: a table in the terminal, JSON, tables in a page.

In the page, every figure has its place: what stands between `<!-- NAME -->` and `<!-- /NAME -->` is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from figure import BenchmarkError, Row, Sample

Rows = Mapping[str, Sequence[Row]]
WIDTH = 150
COLUMNS = ("", "ours", "peer", "ratio", "goal", "met")


def show(rows: Rows, facts: Mapping[str, str]) -> None:
    """One table, a section a figure: medians, and the range of what was measured."""
    table = Table(*COLUMNS, caption=" · ".join(f"{name}: {value}" for name, value in facts.items()))
    for figure in rows.values():
        for row in figure:
            table.add_row(*_cells(row))
        table.add_section()
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table)


def write_json(path: Path, rows: Rows, facts: Mapping[str, str]) -> None:
    """{machine, figures: {name: [{name, ours, peer, ratio, goal, is_met}]}}; ours and peer: {median, values}."""
    figures = {name: [_as_json(row) for row in figure] for name, figure in rows.items()}
    path.write_text(json.dumps({"machine": facts, "figures": figures}, ensure_ascii=False, indent=1) + "\n", "utf-8")


def write_page(path: Path, rows: Rows, facts: Mapping[str, str]) -> None:
    """Put the tables of these figures, and the machine, into their places in a page.

    Raises BenchmarkError, and leaves the page as it is, where a place is missing, or where figures that were not measured now
    would be left beside the name of another machine.
    """
    page = path.read_text("utf-8")
    machine = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])
    before = _place("machine").search(page)
    others = [name for name in re.findall(r"<!-- /([\w-]+) -->", page) if name != "machine" and name not in rows]
    if before is not None and others and before[1].strip() not in ("", machine):
        raise BenchmarkError(
            f"{path} has figures of another machine ({', '.join(others)}), which were not measured now. Measure all of them."
        )
    for name, table in {"machine": machine, **{name: _markdown(figure) for name, figure in rows.items()}}.items():
        page = _put(page, name, table, path)
    path.write_text(page, "utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "no"}[row.is_met]
    return row.name, str(row.ours), "" if row.peer is None else str(row.peer), row.ratio, row.goal, met


def _markdown(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "ours": _values(row.ours), "peer": None if row.peer is None else _values(row.peer)}


def _values(values: Sample) -> dict[str, Any]:
    return {"median": values.median, "values": values.values}


def _place(name: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", re.DOTALL)


def _put(page: str, name: str, table: str, path: Path) -> str:
    page, num_places = _place(name).subn(lambda _: f"<!-- {name} -->\n{table}\n<!-- /{name} -->", page)
    if num_places != 1:
        raise BenchmarkError(
            f"{path} has {num_places} places for '{name}'. It needs one: <!-- {name} --> … <!-- /{name} -->"
        )
    return page
