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
AT_ONCE: Final = 64  # questions that share their passes


def write(
    lm: LM,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    prompt: str | None,
    progress: Callable[[int, int], None] | None,
) -> list[Answers]:
    """The greedy answer to each question; an empty one is none. Raises CutawayError for a prompt without its two places."""
    found: list[Answers] = []
    for start in range(0, len(questions), AT_ONCE):
        part = questions[start : start + AT_ONCE]
        prompts = [prompt_of(lm, question, prompt) for question in part]
        texts, scores = ["" for _ in part], [0.0 for _ in part]
        stop = () if lm.config.has_cross else (END,)
        for index, piece in lm.stream_batch(prompts, max_tokens=max_tokens, stop=stop):
            texts[index] += piece.text
            if piece.event is not None and piece.event.probability:
                scores[index] += math.log(piece.event.probability)
        found += [_answers(*each) for each in zip(part, texts, scores, strict=True)]
        if progress is not None:
            progress(len(found), len(questions))
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


def _answers(question: Question, written: str, score: float) -> Answers:
    """score: the sum of the log-probabilities of what was written."""
    text = written.strip()
    if not text:
        return Answers(question=question.text, context=question.context, answers=(), no_answer=math.exp(score))
    begin = question.context.find(text)
    place = (begin, begin + len(text)) if begin >= 0 else (None, None)
    answer = Answer(text=text, begin=place[0], end=place[1], score=score, probability=math.exp(score))
    return Answers(question=question.text, context=question.context, answers=(answer,))
