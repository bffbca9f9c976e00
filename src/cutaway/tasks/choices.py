"""Questions with choices, by log-likelihood. In: a model and JSON-lines. Out: a `Report` of its accuracy.

A line is {"context": "The cat chased the", "choices": ["dog", "moon"], "answer": 0}, choices counted from 0. The one with the
largest Σ log p, divided as asked, is the model's (Brown et al. 2020 §2.4).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..data.sources import read_records
from ..errors import CutawayError
from ..lm import LM
from .report import Report, make_report
from .score import Normalise, multiple_choice

FIELDS = ("context", "choices", "answer")


def evaluate_choices(lm: LM, path: Path, *, normalise: Normalise = "none") -> Report:
    """How often the likeliest choice is the right one. normalise: see `multiple_choice`.

    Raises CutawayError, with file and line, for what is no question, and as `multiple_choice`.
    """
    questions = [_question(record, place) for record, place in read_records(path, FIELDS)]
    if not questions:
        raise CutawayError(f"There is no question in {path}. A line has the fields {', '.join(FIELDS)}.")
    began = time.perf_counter()
    chosen = multiple_choice(lm, [(context, choices) for context, choices, _ in questions], normalise=normalise)
    examples = [
        (context, choices[choice.index], [choices[answer]])
        for (context, choices, answer), choice in zip(questions, chosen, strict=True)
    ]
    seconds = time.perf_counter() - began
    return make_report(task="choices", model=lm.name, data=path, examples=examples, metric="accuracy", seconds=seconds)


def _question(record: dict[str, Any], place: str) -> tuple[str, list[str], int]:
    context, choices, answer = (record[field] for field in FIELDS)
    if not isinstance(context, str):
        raise CutawayError(f"{place}: 'context' is {context!r:.40}. It takes a text.")
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, str) and choice for choice in choices)
    ):
        raise CutawayError(f"{place}: 'choices' is {choices!r:.60}. It takes a list of texts, none of them empty.")
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise CutawayError(f"{place}: 'answer' is {answer!r:.40}. It takes a number from 0 to {len(choices) - 1}.")
    return context, choices, answer
