"""How good answers are. In: a model and a file of questions in SQuAD's form. Out: a `Report` with exact match and F1."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...data import Question, QuestionSource, read_questions
from ...lm import LM
from ..report import Report, make_report
from .ask import Asking, answer_all
from .found import Answers
from .threshold import Threshold, find_threshold


def evaluate_answers(
    lm: LM, path: Path, asking: Asking | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Ask every question of a file and measure the answers; those without an answer in their context count too.

    progress: is told what is done and how much there is. Raises CutawayError as `read_questions` and `answer_all`.
    """
    questions, began = questions_of(path), time.perf_counter()
    found = answer_all(lm, questions, asking, progress=progress)
    return report_of(lm, path, questions, found, time.perf_counter() - began)


def report_of(lm: LM, path: Path, questions: Sequence[Question], found: Sequence[Answers], seconds: float) -> Report:
    """The report of answers that are there already. seconds: what they took."""
    examples = [
        (question.text, answers.text, [answer.text for answer in question.answers])
        for question, answers in zip(questions, found, strict=True)
    ]
    return make_report(task="answer", model=lm.name, data=path, examples=examples, metric="squad", seconds=seconds)


def threshold_on(
    lm: LM, path: Path, asking: Asking | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Threshold:
    """The threshold of the best F1 on a file of questions that the model never learned from. Arguments as `evaluate_answers`."""
    questions = questions_of(path)
    return find_threshold(questions, answer_all(lm, questions, asking, progress=progress), path.name)


def questions_of(path: Path) -> list[Question]:
    """Every question of a file, in order."""
    return list(read_questions(QuestionSource(files=str(path))))
