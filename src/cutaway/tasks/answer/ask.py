"""Ask any model that can answer. In: a model, questions with their contexts. Out: `Answers`.

An encoder with scores for begin and end marks spans; an encoder-decoder and a decoder write a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...data import Question
from ...errors import CutawayError
from ...lm import LM
from ...text.refusals import check_text
from ...train.question_feed import SPAN_LABELS
from .found import Answers
from .mark import mark
from .threshold import Threshold, load_threshold
from .write import write


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked. num: answers to each question; max_tokens: of one; batch_size: windows at a time.

    threshold: when there is no answer, None for what lies beside the weights. prompt: what a model that writes is given, with
    {question} and {context} in it; None: see `write`. Raises CutawayError for numbers below 1.
    """

    num: int = 1
    max_tokens: int = 30
    batch_size: int = 32
    threshold: Threshold | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        for name in ("num", "max_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise CutawayError(f"{name} is {getattr(self, name)}. It must be at least 1.")


def answer(lm: LM, question: str, context: str, asking: Asking | None = None) -> Answers:
    """The answers to one question. Raises CutawayError for an empty question or context, and a model that cannot answer."""
    return answer_all(lm, [Question(text=question.strip(), context=context)], asking)[0]


def answer_all(
    lm: LM,
    questions: Sequence[Question],
    asking: Asking | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answers]:
    """The answers to each question, in order. progress: is told what is done and how much there is. Raises as `answer`."""
    asking = asking or Asking()
    for question in questions:
        _check(question)
    if lm.config.num_labels == SPAN_LABELS:
        return mark(
            lm,
            questions,
            num=asking.num,
            max_tokens=asking.max_tokens,
            batch_size=asking.batch_size,
            threshold=load_threshold(lm.place) if asking.threshold is None else asking.threshold,
            progress=progress,
        )
    check_answers(lm)
    if asking.num > 1:
        raise CutawayError(f"'{lm.name}' writes its answer and has one. Ask for 1, not {asking.num}.")
    return write(lm, questions, max_tokens=asking.max_tokens, prompt=asking.prompt, progress=progress)


def check_answers(lm: LM) -> None:
    """Raises CutawayError for a model that can neither mark an answer nor write one."""
    config = lm.config
    if config.num_labels != SPAN_LABELS and (not config.says_next):
        raise CutawayError(
            f"'{lm.name}' cannot answer: it neither writes texts nor scores where an answer begins and ends. An encoder "
            "learns it from questions: name it as the base of a recipe with [questions]."
        )


def _check(question: Question) -> None:
    for name, text in (("question", question.text), ("context", question.context)):
        check_text(text)
        if not text.strip():
            raise CutawayError(f"The {name} is empty. Give a question, and a text that may hold its answer.")
