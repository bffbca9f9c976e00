"""Answers in a model's own words. In: questions and a model that generates. Out: one text for each.

The prompt of an encoder-decoder is that of Raffel et al. 2020 (appendix D); a decoder goes on from the context and the question,
up to the end of the line. Another form is a text with {context} and {question} in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from ...data import FORM, Question
from ...errors import CutawayError
from ...lm import LM
from .found import Answer, Answers

TWO_STACKS: Final = "question: {question} context: {context}"
END: Final = "\n"


def write(
    lm: LM,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    prompt: str | None,
    progress: Callable[[int, int], None] | None,
) -> list[Answers]:
    """The greedy answer to each question; an empty one is none. Raises CutawayError for a prompt without its two places."""
    found = []
    for number, question in enumerate(questions, start=1):
        found.append(_written(lm, question, max_tokens, prompt))
        if progress is not None:
            progress(number, len(questions))
    return found


def prompt_of(lm: LM, question: Question, form: str | None) -> str:
    """The text that the model reads. form: None for the model's own kind."""
    form = form or (TWO_STACKS if lm.config.has_cross else FORM)
    if not all(name in form for name in ("{question}", "{context}")):
        raise CutawayError(f"The prompt '{form:.60}' lacks {{question}} or {{context}}. Write both where they belong.")
    before, after = form.split("{question}", 1)
    return "".join(
        (before.replace("{context}", question.context), question.text, after.replace("{context}", question.context))
    )


def _written(lm: LM, question: Question, max_tokens: int, prompt: str | None) -> Answers:
    pieces = list(
        lm.stream(prompt_of(lm, question, prompt), max_tokens=max_tokens, stop=() if lm.config.has_cross else (END,))
    )
    score = sum(math.log(piece.event.probability) for piece in pieces if piece.event and piece.event.probability)
    text = "".join(piece.text for piece in pieces).strip()
    if not text:
        return Answers(question=question.text, context=question.context, answers=(), no_answer=math.exp(score))
    begin = question.context.find(text)
    place = (begin, begin + len(text)) if begin >= 0 else (None, None)
    answer = Answer(text=text, begin=place[0], end=place[1], score=score, probability=math.exp(score))
    return Answers(question=question.text, context=question.context, answers=(answer,))
