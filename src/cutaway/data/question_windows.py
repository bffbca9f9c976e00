"""Questions -> what a model reads of them. In: questions, a tokenizer. Out: windows, each a question and a part of its context.

    [cls] question [sep] a part of the context [sep]        types 0 … 0 1 … 1

as the tokenizer's own file frames two texts (`<s> question </s></s> context </s>` without types, say). A context that is too long
is read in several windows, which begin `stride` tokens after one another and overlap (Devlin et al. 2019 §4.2). The targets of a
window are the first and the last token of the answer, or twice its first token, cls, where the answer is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig
from ..errors import CutawayError
from ..text import PairFrame, Tokenizer
from .packing import Ids
from .questions import Question

CLS = 0
"""The place of the first token of a row, which stands for "no answer"."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A context as tokens. ids: one each; begins, ends: the characters that each stands for, white space around it left out."""

    ids: Ids
    begins: Ids
    ends: Ids


@dataclass(frozen=True, slots=True)
class Window:
    """A question and the tokens start … stop − 1 of its passage. number: of the question. num_tokens: of the row.

    first: the place in the row of the context's first token. begin, end: the targets, also places in the row.
    """

    number: int
    question_ids: Ids
    passage: Passage
    start: int
    stop: int
    first: int
    num_tokens: int
    begin: int
    end: int


class Cutter:
    """Cuts questions into windows.

    length: the most tokens of a row. stride: tokens of the context from the begin of a window to that of the next. max_question:
    a question's tokens behind so many are left out. Raises `CutawayError` where a row has no room for `stride` tokens of the
    context, or the tokenizer puts nothing around two texts.
    """

    def __init__(
        self, tokenizer: Tokenizer, config: ModelConfig, *, length: int, stride: int, max_question: int
    ) -> None:
        self.tokenizer, self.length, self.stride, self.max_question = tokenizer, length, stride, max_question
        self.frame = _frame(tokenizer)
        self.has_types = config.main.num_token_types > max(self.frame.types) > 0
        for name, value in (("stride", stride), ("max_question", max_question)):
            if value < 1:
                raise CutawayError(f"{name} is {value}. It must be at least 1: it counts tokens.")
        room = length - self.frame.num_tokens - max_question
        if room < stride:
            raise CutawayError(
                f"stride is {stride}, and a row of {length} tokens has room for {max(room, 0)} of a context beside a question "
                f"of {max_question}. Lower stride or max_question, or take longer rows."
            )

    def windows(self, questions: Iterable[Question]) -> Iterator[Window]:
        """Every window of every question, in order. Raises `CutawayError` for a context or an answer without tokens."""
        context, passage = None, None
        for number, question in enumerate(questions):
            if passage is None or question.context is not context:
                context, passage = question.context, self._passage(question)
            yield from self._of_question(number, question, passage)

    def row(self, window: Window) -> Ids:
        """The ids of a window: [position]."""
        context = window.passage.ids[window.start : window.stop]
        before, between, after = (np.array(part, dtype=np.int64) for part in self.frame[:3])
        return np.concatenate([before, window.question_ids, between, context, after])

    def types(self, window: Window) -> Ids:
        """The type of each token of a window: [position]."""
        parts = (len(self.frame.before), len(window.question_ids), len(self.frame.between))
        sizes = (*parts, window.stop - window.start, len(self.frame.after))
        return np.repeat(np.array(self.frame.types, dtype=np.int64), sizes)

    def _of_question(self, number: int, question: Question, passage: Passage) -> Iterator[Window]:
        ids = np.array(self.tokenizer.encode(question.text)[: self.max_question], dtype=np.int64)
        first = len(self.frame.before) + len(ids) + len(self.frame.between)
        room = self.length - self.frame.num_tokens - len(ids)
        marked = _marked(question, passage)
        for start, stop in _cut(len(passage.ids), room, self.stride):
            is_inside = marked is not None and start <= marked[0] and marked[1] < stop
            begin, end = (first + place - start for place in marked) if marked and is_inside else (CLS, CLS)
            num_tokens = self.frame.num_tokens + len(ids) + stop - start
            yield Window(number, ids, passage, start, stop, first, num_tokens, begin, end)

    def _passage(self, question: Question) -> Passage:
        found = self.tokenizer.encoding(question.context)
        if not found.ids:
            raise CutawayError(
                f"The context of {question.place} gives no token: '{question.context:.40}'. Give another one."
            )
        offsets = [_trimmed(question.context, begin, end) for begin, end in found.offsets]
        begins, ends = np.array(offsets, dtype=np.int64).T
        return Passage(np.array(found.ids, dtype=np.int64), begins, ends)


def _frame(tokenizer: Tokenizer) -> PairFrame:
    """What stands around two texts by the tokenizer's file; where it puts nothing there, cls and sep."""
    frame, roles = tokenizer.pair_frame, tokenizer.roles
    if frame.before and frame.between:
        return frame
    if roles.cls is None or roles.sep is None:
        raise CutawayError(
            "This tokenizer has no tokens (cls, sep) that begin and part a question and a context. Take a model that reads two "
            "texts together, with the tokenizer that it came with."
        )
    return PairFrame((roles.cls,), (roles.sep,), (roles.sep,), (0, 0, 0, 1, 1))


def _cut(num_tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Where the windows of a passage begin and end; the last one ends with it."""
    num_more = max(0, -(-(num_tokens - room) // stride))
    return [(start, min(start + room, num_tokens)) for start in range(0, (num_more + 1) * stride, stride)]


def _marked(question: Question, passage: Passage) -> tuple[int, int] | None:
    """The first and the last token of a question's first answer, in the passage; None without one."""
    if not question.answers:
        return None
    answer = question.answers[0]
    if answer.begin is None:
        raise CutawayError(
            f"The answer '{answer.text:.60}' of {question.place} has no place in its context, so it cannot be marked there. Have "
            "it written: questions.answers = 'written'."
        )
    inside: NDArray[np.bool_] = (passage.ends > answer.begin) & (passage.begins < answer.begin + len(answer.text))
    tokens = np.flatnonzero(inside & (passage.begins < passage.ends))
    if not len(tokens):
        raise CutawayError(
            f"The answer '{answer.text:.60}' of {question.place} gives no token: the tokenizer leaves it out. Take it out too."
        )
    return int(tokens[0]), int(tokens[-1])


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    """A token's characters without the white space around them, which many tokenizers put into the token."""
    part = text[begin:end]
    begin = end - len(part.lstrip())
    return begin, begin + len(part.strip())
