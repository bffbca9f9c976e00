"""Questions -> rows from which a decoder learns to write answers. In: questions, a tokenizer. Out: rows.

    context | branch: Question: …? Answer: … end | branch: Question: …? Answer: … end

Questions of one context, or of contexts that begin alike as a story's do, share a row: the *trunk* is read once, and each
question is a *branch* that sees the trunk up to where its own context ends, and itself. Token by token a branch reads what it
would read alone, at the same positions. What counts is the answer and the token that ends it; without an answer, that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from ..text import Tokenizer
from .packing import Ids
from .questions import Question

FORM: Final = "{context}\n\nQuestion: {question}\nAnswer:"
_AT_ONCE = 256  # groups of questions that are encoded together


class Branch(NamedTuple):
    """One question behind a trunk. start: tokens of the trunk that it sees. ids: what follows, the end token last.

    num_scored: how many of the ids, from the end, count. num_bytes: UTF-8 bytes of the answer.
    """

    start: int
    ids: Ids
    num_scored: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A trunk, as far as a branch sees it, and its branches."""

    trunk: Ids
    branches: tuple[Branch, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that a model reads: of a branch all but the last one."""
        return len(self.trunk) + sum(len(branch.ids) - 1 for branch in self.branches)


def written_form(question: Question) -> str:
    """The text that the answer follows. See `FORM`."""
    before, after = FORM.split("{question}")
    return before.replace("{context}", question.context) + question.text + after


def answer_rows(
    questions: Iterable[Question], tokenizer: Tokenizer, *, end_id: int, context: int, row_tokens: int
) -> Iterator[AnswerRow]:
    """Rows of all questions, in order. context: tokens of a trunk and one branch; what is longer is left out.

    row_tokens: about so many in one row, where it has more than one branch.
    """
    grouped = _grouped(questions)
    while groups := list(islice(grouped, _AT_ONCE)):
        flat = [question for group in groups for question in group]
        prompts = iter(tokenizer.encode_begun([written_form(question) for question in flat]))
        answers = iter(tokenizer.encode_batch([_answer(question) for question in flat]))
        trunks = tokenizer.encode_begun([group[-1].context for group in groups])
        for group, ids in zip(groups, trunks, strict=True):
            trunk = np.array(ids, dtype=np.int64)
            branches = [
                _branch(trunk, next(prompts), [*next(answers), end_id], len(_answer(question).encode()))
                for question in group
            ]
            yield from _rows(trunk, [each for each in branches if each.start + len(each.ids) <= context], row_tokens)


def _grouped(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """Questions that follow one another and whose contexts begin alike, each at least as long as the one before."""
    group: list[Question] = []
    for question in questions:
        if group and not question.context.startswith(group[-1].context):
            yield group
            group = []
        group.append(question)
    if group:
        yield group


def _answer(question: Question) -> str:
    return f" {question.answers[0].text}" if question.answers else ""


def _branch(trunk: Ids, prompt: Sequence[int], answer: Sequence[int], num_bytes: int) -> Branch:
    ids = np.array([*prompt, *answer], dtype=np.int64)
    most = min(len(trunk), len(prompt) - 1)  # so that what comes before the answer is the branch's own
    differs = np.flatnonzero(trunk[:most] != ids[:most])
    start = int(differs[0]) if len(differs) else most
    return Branch(start, ids[start:], len(answer), num_bytes)


def _rows(trunk: Ids, branches: Sequence[Branch], row_tokens: int) -> Iterator[AnswerRow]:
    row: list[Branch] = []
    for branch in branches:
        if row and AnswerRow(_seen(trunk, row), (*row, branch)).num_tokens > row_tokens:
            yield AnswerRow(_seen(trunk, row), tuple(row))
            row = []
        row.append(branch)
    if row:
        yield AnswerRow(_seen(trunk, row), tuple(row))


def _seen(trunk: Ids, branches: Sequence[Branch]) -> Ids:
    return trunk[: max(branch.start for branch in branches)]
