"""Answers in a terminal. In: `Answers` and a rich console. Out: the answer, its probability, and the sentences that it stands in.

The answer is computed, so it is green; its place in the text is what to look at, so it is orange. Without colours it stands in
brackets.
"""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...tasks.answer import Answer, Answers
from ...text.visible import printable
from .characters import COMPUTED, LOOK, QUIET
from .wording import chance

NOTHING = "no answer"


def show(found: Answers, console: Console) -> None:
    """Print the best answer with its evidence, and the others below it."""
    first = found.answers[0] if found.answers else None
    if first is None or not found.is_answered:
        console.print(Text.assemble((NOTHING, "bold"), f"  {chance(found.no_answer)}"))
        if first is not None:
            console.print(Text.assemble(("if there is one, it is", QUIET), f" {printable(first.text)}"), soft_wrap=True)
    else:
        beside = f", {NOTHING} {chance(found.no_answer)}" if found.gap is not None else ""
        console.print(
            Text.assemble(
                (printable(first.text), f"bold {COMPUTED}"), f"  {chance(first.probability)}", (beside, QUIET)
            ),
            soft_wrap=True,
        )
        _evidence(found, first, console)
    if len(found.answers) > 1:
        _others(found, console)


def _evidence(found: Answers, answer: Answer, console: Console) -> None:
    evidence = found.evidence(answer)
    console.print()
    if evidence is None:
        console.print(Text("These words do not stand in the text: the model wrote them.", QUIET))
        return
    opening, closing = ("[", "]") if console.color_system is None else ("", "")
    text, begin, end, _ = evidence
    before, marked, after = (printable(part) for part in (text[:begin], text[begin:end], text[end:]))
    line = Text.assemble(before, (f"{opening}{marked}{closing}", f"bold {LOOK}"), after)
    console.print(Padding(line, (0, 0, 0, 2), expand=False))
    console.print(Text(f"  characters {answer.begin:,} to {answer.end:,}", QUIET))


def _others(found: Answers, console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_column(justify="right", style=QUIET, no_wrap=True)
    for answer in found.answers:
        place = "" if answer.begin is None else f"{answer.begin:,}–{answer.end:,}"
        table.add_row(chance(answer.probability), Text(" ".join(printable(answer.text).split())), place)
    console.print()
    console.print(table)
