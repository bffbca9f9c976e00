"""Rows of questions: token by token what each question alone would be, each once, in rows and batches that are not too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cutaway.data import (
    AnswerBatch,
    AnswerLoader,
    AnswerRow,
    Question,
    QuestionSource,
    answer_rows,
    read_questions,
    written_form,
)
from cutaway.data.answer_loader import PAD as PADDING
from cutaway.data.answer_loader import TRUNK
from cutaway.errors import CutawayError
from cutaway.text import Tokenizer, train_tokenizer
from tests import asked

END, PAD = 7, 3


def tokenizer() -> Tokenizer:
    return train_tokenizer("bpe", asked.CONTEXTS, vocab_size=300)


def questions(folder: Path) -> list[Question]:
    """SQuAD's form, then a story's: contexts that are equal, and contexts that grow."""
    growing = [
        Question(text=f"Who came {number}th?", context=" ".join(asked.CONTEXTS[0].split()[: 4 + number]))
        for number in range(6)
    ]
    return [*read_questions(QuestionSource(files=str(asked.write(folder)))), *growing]


def rows(folder: Path, *, context: int = 400, row_tokens: int = 10_000) -> list[AnswerRow]:
    return list(answer_rows(questions(folder), tokenizer(), end_id=END, context=context, row_tokens=row_tokens))


def alone(question: Question) -> tuple[tuple[int, ...], int]:
    """What one question is without the others, and how much of it counts."""
    ours = tokenizer()
    answer = ours.encode(f" {question.answers[0].text}") if question.answers else []
    return (*ours.encode(written_form(question)), *answer, END), len(answer) + 1


def branches(row: AnswerRow) -> list[tuple[tuple[int, ...], int]]:
    return [((*row.trunk[: each.start].tolist(), *each.ids.tolist()), each.num_scored) for each in row.branches]


@pytest.mark.parametrize("row_tokens", [10_000, 300, 1])
def test_every_branch_is_its_question(row_tokens: int, tmp_path: Path) -> None:
    found = rows(tmp_path, row_tokens=row_tokens)
    assert [each for row in found for each in branches(row)] == [alone(question) for question in questions(tmp_path)]
    assert all(row.num_tokens <= max(row_tokens, 400) for row in found)
    if row_tokens == 10_000:
        assert [len(row.branches) for row in found] == [5, 4, 3, 6]
        assert all(each.start >= 0.8 * len(row.trunk) for row in found[:3] for each in row.branches), "it is shared"
    if row_tokens == 1:
        assert {len(row.branches) for row in found} == {1}


def test_a_context_that_looks_like_a_prompt_is_none() -> None:
    first = Question(text="Who?", context="Ann came.")
    longer = Question(text="What?", context=f"{written_form(first)} Ann.\n")
    found = list(answer_rows([first, longer], tokenizer(), end_id=END, context=400, row_tokens=10_000))
    assert [each for row in found for each in branches(row)] == [alone(first), alone(longer)]
    assert all(each.num_scored < len(each.ids) for row in found for each in row.branches), "what is scored is its own"


def test_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    wanted = [found for found in map(alone, questions(tmp_path)) if len(found[0]) <= 80]
    assert [each for row in rows(tmp_path, context=80) for each in branches(row)] == wanted
    assert 0 < len(wanted) < 18
    with pytest.raises(CutawayError, match="No question fits into the model's context"):
        AnswerLoader(rows(tmp_path, context=8), batch_tokens=100, seed=1, pad_id=PAD)


def branches_of(batch: AnswerBatch) -> Iterator[tuple[tuple[int, ...], int]]:
    """Every branch of a batch with what it sees, after every array was checked against the others."""
    assert ((batch.branches == PADDING) == batch.is_padding).all()
    assert (batch.input_ids[batch.is_padding] == PAD).all()
    assert not batch.weights[~batch.is_branch].any()
    for row in range(len(batch.input_ids)):
        for segment in range(int(batch.segments[row].max()) + 1):
            is_here = (batch.segments[row] == segment) & ~batch.is_padding[row]
            ids, targets, branch, starts, ranks, weights = (
                array[row][is_here]
                for array in (
                    batch.input_ids,
                    batch.target_ids,
                    batch.branches,
                    batch.starts,
                    batch.ranks,
                    batch.weights,
                )
            )
            trunk = ids[branch == TRUNK]
            assert (starts[branch == TRUNK] == np.arange(len(trunk))).all()
            for number in range(int(branch.max()) + 1):
                own = branch == number
                (start,) = set(starts[own].tolist())
                assert (ranks[own] == np.arange(own.sum())).all()
                assert (ids[own][1:] == targets[own][:-1]).all()
                scored = int(weights[own].sum())
                assert weights[own][-scored:].all()
                yield (*trunk[:start].tolist(), *ids[own].tolist(), int(targets[own][-1])), scored


def test_batches_hold_every_branch_once_with_what_it_sees(tmp_path: Path) -> None:
    made = rows(tmp_path, row_tokens=300)
    loader = AnswerLoader(made * 5, batch_tokens=700, seed=4, pad_id=PAD)
    size = loader.batches_per_epoch
    for batches in ([loader.batch(number) for number in range(size)], loader.all()):
        found = Counter(each for batch in batches for each in branches_of(batch))
        assert found == Counter([each for row in made for each in branches(row)] * 5)
        assert sum(batch.num_bytes for batch in batches) == 5 * sum(
            len(f" {question.answers[0].text}".encode()) for question in questions(tmp_path) if question.answers
        )
    assert np.array_equal(loader.batch(size + 1).input_ids, loader.batch(size + 1).input_ids)
    assert any(
        not np.array_equal(loader.batch(number).input_ids, loader.batch(size + number).input_ids)
        for number in range(size)
    )


def test_batches_are_as_large_as_asked_for_with_little_padding(tmp_path: Path) -> None:
    loader = AnswerLoader(rows(tmp_path, row_tokens=1) * 20, batch_tokens=1500, seed=4, pad_id=PAD)
    batches = [loader.batch(number) for number in range(loader.batches_per_epoch)]
    sizes = [int((~batch.is_padding).sum()) for batch in batches]
    assert 1300 < sum(sizes[:-1]) / len(sizes[:-1]) < 1700
    assert sum(batch.is_padding.sum() for batch in batches) < 0.2 * sum(batch.input_ids.size for batch in batches)
