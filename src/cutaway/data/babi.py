"""Stories with questions in between -> questions. In: a file of bAbI (Weston et al. 2016, arXiv:1502.05698). Out: its questions.

    1 Mary moved to the bathroom.
    2 Where is Mary? <tab> bathroom <tab> 1

Lines are counted within a story, and 1 begins the next one. A line with tabs is a question with its answer (several, parted by
commas, are one answer in that order) and the numbers of the lines that support it, which are passed over. The context of a
question is every statement before it in its story; earlier questions are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import CutawayError
from ..text.refusals import check_text
from .sources import open_text, read_lines

_LINE = re.compile(r"(\d+) (.*)", re.DOTALL)


class Asked(NamedTuple):
    """One question of a story. place: file and line."""

    text: str
    context: str
    answer: str
    place: str


def read_babi(path: Path) -> Iterator[Asked]:
    """The questions of a file, in order; the contexts of one story begin alike.

    Raises `CutawayError`, with file and line: a line without a number or out of order, a question without a context or an answer.
    """
    statements: list[str] = []
    last = 0
    with open_text(path) as file:
        for line_number, line in enumerate(read_lines(path, file), start=1):
            if not line.strip():
                continue
            place = f"{path}:{line_number}"
            number, text = _numbered(line, place)
            if number == 1:
                statements = []
            elif number != last + 1:
                raise CutawayError(
                    f"{place} has the number {number}, and {last + 1} or 1 comes next. Lines of a story are counted."
                )
            last = number
            if "\t" in text:
                yield _asked(text, " ".join(statements), place)
            else:
                statements.append(text.strip())


def _numbered(line: str, place: str) -> tuple[int, str]:
    found = _LINE.fullmatch(line)
    if found is None or not found[2].strip():
        raise CutawayError(
            f"{place} is '{line:.40}'. A line of bAbI is a number, a space and a statement or a question: is the file of bAbI?"
        )
    try:
        check_text(found[2])
        return int(found[1]), found[2]
    except (CutawayError, ValueError) as error:
        raise CutawayError(f"{place} cannot be read. {error}") from error


def _asked(line: str, context: str, place: str) -> Asked:
    question, answer = (part.strip() for part in line.split("\t")[:2])
    for name, text in (("question", question), ("answer", answer)):
        if not text:
            raise CutawayError(
                f"{place} has no {name}. Before the first tab stands the question, behind it the answer."
            )
    if not context:
        raise CutawayError(f"{place} asks before anything was said. Put at least one statement of its story before it.")
    return Asked(question, context, ", ".join(part.strip() for part in answer.split(",")), place)
