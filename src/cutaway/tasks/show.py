"""Reports in a terminal. In: a report, or several on the same examples, and a rich console. Out: tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..lens.numerals import count
from .compare import Difference, common_metrics
from .report import Report, Score

QUIET: Final = "#767676"
MOST_CHARACTERS: Final = 400


def show_report(report: Report, console: Console, *, num_shown: int = 2) -> None:
    """Print the values with their intervals, then the best and the worst examples. num_shown: of each."""
    _title(console, report.task, f"{report.model} on {_data(report)}: {_size(report)}")
    table = _table("<metric", ">value", "<95 % interval")
    for score in report.scores:
        table.add_row(score.metric, Text(_number(score.value), "bold"), _interval(score.low, score.high))
    _print(console, table)
    for score in report.scores:  # below, so that a window never breaks one: they are there to be copied
        console.print(Text(f"  {score.metric}  {score.signature}", QUIET), soft_wrap=True)
    num_shown = min(num_shown, report.num_examples // 2)
    for title, numbers in (("Best", report.best(num_shown)), ("Worst", report.worst(num_shown))):
        for number in numbers:
            _example(report, number, title, console)


def show_reports(names: Sequence[str], reports: Sequence[Report], console: Console) -> None:
    """Print reports side by side. names: of the columns."""
    first = reports[0]
    _title(console, first.task, f"{_data(first)}: {count(first.num_examples, 'example')}")
    rows: list[tuple[str, Sequence[str]]] = [("model", [sayable(report.model) for report in reports])]
    for metric in common_metrics(reports):
        scores = [report.score(metric) for report in reports]
        rows.append((metric, [_number(score.value) for score in scores]))
        rows.append(("  95 %", [_interval(score.low, score.high) for score in scores]))
    rows.append(("seconds", [f"{report.seconds:,.1f}" for report in reports]))
    side_by_side([sayable(name) for name in names], rows, console)


def side_by_side(names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], console: Console) -> None:
    """Print a column for each name. rows: what they tell, and a cell for each; one that belongs to the row above is set back."""
    table = _table("<", *(f">{name}" for name in names))
    for name, cells in rows:
        style = QUIET if name.startswith(" ") else ""
        table.add_row(Text(name, QUIET), *(Text(cell, style) for cell in cells))
    _print(console, table)


def show_differences(first: str, second: str, found: Sequence[Difference], console: Console) -> None:
    """Print what the second report has more than the first. first, second: their names."""
    console.print()
    _title(console, sayable(second), f"against {sayable(first)}")
    table = _table("<metric", ">difference", "<95 % interval", ">p, bootstrap", ">p, randomisation")
    for each in found:
        test = each.test
        table.add_row(
            each.metric,
            Text(_signed(test.difference), "bold"),
            f"{_signed(test.low)} … {_signed(test.high)}",
            f"{test.bootstrap_p:.3f}",
            f"{test.randomisation_p:.4f}",
        )
    _print(console, table)


def sayable(text: str) -> str:
    """A text that a terminal prints and does not obey, on one line and not too long."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"


def _example(report: Report, number: int, title: str, console: Console) -> None:
    example, score = report.examples[number], report.scores[0]
    console.print()
    _title(console, title, f"example {number + 1:,}, {score.metric} {_number(_of_one(score, number))}")
    rows = _table("<", "<", shows_header=False)
    rows.columns[1].overflow = "fold"
    rows.add_row(Text("source", QUIET), sayable(example.source))
    if not score.formula.is_loss:
        rows.add_row(Text("prediction", QUIET), Text(sayable(example.prediction) or "nothing", "bold"))
    for reference in example.references:
        rows.add_row(Text("reference", QUIET), sayable(reference))
    if not example.references:
        rows.add_row(Text("reference", QUIET), "none: there is no answer")
    _print(console, rows)


def _of_one(score: Score, number: int) -> float:
    return float(score.formula.of_one(score.rows[number]))


def _data(report: Report) -> str:
    return ", ".join(sayable(file.name) for file in report.data)


def _size(report: Report) -> str:
    return f"{count(report.num_examples, 'example')}, {report.seconds:,.1f} s"


def _title(console: Console, title: str, rest: str) -> None:
    console.print(Text.assemble((title, "bold"), f"  {rest}"), soft_wrap=True)


def _table(*columns: str, shows_header: bool = True) -> Table:
    """columns: "<name" to the left, ">name" to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET, show_header=shows_header)
    for column in columns:
        table.add_column(Text(column[1:]), justify="left" if column[0] == "<" else "right", overflow="fold")
    return table


def _print(console: Console, table: Table) -> None:
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _number(value: float) -> str:
    return f"{value:,.2f}"


def _signed(value: float) -> str:
    return f"{value:+,.2f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return f"{_number(low)} … {_number(high)}"
