"""What a model answers. In: spans or a text with scores. Out: the answers, the likeliest first, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..sentences import sentence_borders

EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. begin, end: its characters in the context; None for a text that does not stand there.

    score: of a span the sum of its two logits, of a text that was written Σ log p of its tokens. probability: of being right.
    """

    text: str
    begin: int | None
    end: int | None
    score: float
    probability: float


class Evidence(NamedTuple):
    """A part of a context. begin, end: the answer's characters in it; start: where it begins in the context."""

    text: str
    begin: int
    end: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model says to a question: answers, the likeliest first; no_answer: the probability that the context holds none.

    gap: how much higher than the best span "no answer" scores; a threshold is found by it. None for texts that were written.
    """

    question: str
    context: str
    answers: tuple[Answer, ...]
    no_answer: float = 0.0
    gap: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the context holds an answer, as far as the model can tell."""
        return bool(self.answers) and self.no_answer <= EVEN

    @property
    def text(self) -> str:
        """The best answer, or "" for none."""
        return self.answers[0].text if self.is_answered else ""

    def evidence(self, answer: Answer) -> Evidence | None:
        """The sentences of the context around an answer; None for one that does not stand there."""
        if answer.begin is None or answer.end is None:
            return None
        borders = sentence_borders(self.context)
        start = max((begin for begin, _ in borders if begin <= answer.begin), default=0)
        stop = min((end for _, end in borders if end >= answer.end), default=len(self.context))
        return Evidence(self.context[start:stop], answer.begin - start, answer.end - start, start)
