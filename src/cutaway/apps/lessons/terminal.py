"""A lesson in a terminal. In: a `Lesson` and a rich console. Out: its question, figures and test in characters.

Everything keeps to the console's width, from 72 to 100 cells.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...lessons import Entry, Lesson, Setting
from ..inspect.characters import BROAD, NARROW, QUIET, say
from .drawing import draw

SIDE = 20  # cells of the left column at the end of a lesson


def show_list(
    entries: Sequence[Entry],
    console: Console,
    refusals: Mapping[str, str | None] | None = None,
    model: str | None = None,
) -> None:
    """All lessons, one line each. refusals: why a lesson cannot be read on the model that was named."""
    console.width = max(NARROW, min(console.width, BROAD))
    width = max(len(entry.name) for entry in entries)
    console.print(Text("Questions about transformers, each answered by an experiment on a live model", "bold"))
    console.print()
    for entry in entries:
        console.print(Text.assemble("  ", (f"{entry.name:<{width}}", "bold"), f"  {entry.title}"))
        refusal = (refusals or {}).get(entry.name)
        said = entry.line if refusal is None else f"not on {model}: {refusal}"
        console.print(Padding(Text(said, QUIET), (0, 0, 0, width + 4)))
    console.print()
    chosen = "" if model is None else f" --model {shlex.quote(model)}"
    console.print(f"Type next:  cutaway lessons {entries[0].name}{chosen}")


def show_lesson(lesson: Lesson, console: Console) -> None:
    """The lesson from its question to the next one."""
    console.width = max(NARROW, min(console.width, BROAD))
    console.print(Text.assemble((lesson.title, "bold"), (f"  on {lesson.model}", QUIET)))
    for paragraph in lesson.text:
        console.print()
        say(console, paragraph)
    for figure in lesson.figures:
        console.print()
        console.print(Text(figure.title, "bold"))
        say(console, figure.caption, QUIET)
        console.print()
        draw(figure, console)
    console.print()
    _findings(lesson, console)
    console.print(Padding(Text("─" * (console.width - 4), QUIET), (0, 0, 0, 2)))
    _end(lesson, console)


def control(setting: Setting) -> str:
    """A setting as it is typed, with what is allowed."""
    value = shlex.quote(
        f"{setting.name}={setting.value:g}" if setting.kind == "number" else f"{setting.name}={setting.value}"
    )
    if setting.kind == "choice":
        return f"{value}  ({', '.join(setting.choices)})"
    return f"{value}  ({setting.least:g} to {setting.most:g})" if setting.kind == "number" else value


def _findings(lesson: Lesson, console: Console) -> None:
    if not lesson.findings:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(max_width=console.width // 2)
    table.add_column(overflow="fold")
    for finding in lesson.findings:
        table.add_row(Text(finding.label, QUIET), Text(finding.value))
    console.print(Text("Measured", "bold"))
    console.print()
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    console.print()


def _end(lesson: Lesson, console: Console) -> None:
    """What would show it wrong, why the test is fair, what can be changed, what comes next."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column(width=SIDE)
    table.add_column()
    check = lesson.wrong
    verdict = "It holds." if check.holds else "It does not hold on this model."
    found = f"{check.claim.rstrip('.')}: {check.threshold}. Found here, just now: {check.found}. "
    rows = [
        ("What would show this wrong?", Text.assemble(found, (verdict, "bold"))),
        ("A fair test", Text(lesson.fair)),
    ]
    if lesson.settings:
        played = "\n".join(f"{setting.label}: {control(setting)}" for setting in lesson.settings)
        rows.append(("To play with", Text(f"cutaway lessons {lesson.name} …\n{played}")))
    if lesson.next is not None:
        rows.append(("Next", Text(f"{lesson.next.title}\ncutaway lessons {lesson.next.name}")))
    for label, content in rows:
        table.add_row(Text(label, "bold"), content)
    console.print(Padding(table, (0, 2, 0, 2)))
