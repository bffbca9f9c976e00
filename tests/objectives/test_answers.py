"""Written answers as a task: branches read what each question alone would, see nothing else, and give its loss and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.config import PositionConfig
from cutaway.data import AnswerBatch, AnswerLoader, AnswerRow
from cutaway.data.answer_rows import Branch
from cutaway.data.packing import Batch
from cutaway.model import Transformer
from cutaway.objectives import Task, answers, causal, cross_entropy
from cutaway.train.step import predict
from tests import tiny

PAD = 3


def row(trunk: int, *branches: tuple[int, int, int], seed: int) -> AnswerRow:
    """Random ids. branches: tokens of the trunk seen, own tokens, tokens scored."""
    ids = tiny.ids(1, 100, seed=seed)[0].numpy()
    made = [
        Branch(start, ids[20 * (number + 1) :][:length], scored, 1)
        for number, (start, length, scored) in enumerate(branches)
    ]
    return AnswerRow(ids[:trunk], tuple(made))


ROWS = [
    row(9, (9, 6, 2), (4, 5, 1), (9, 3, 2), seed=1),
    row(7, (7, 5, 3), (7, 4, 1), seed=2),
    row(2, (2, 2, 1), (0, 3, 2), seed=3),  # which shares a row with the second
]


def batch_of(*rows: AnswerRow) -> AnswerBatch:
    (batch,) = AnswerLoader(rows, batch_tokens=10_000, seed=1, pad_id=PAD).all()
    return batch


def alone(row: AnswerRow, branch: Branch) -> Task:
    """One question as a text of its own, of which the answer counts."""
    ids = torch.cat([torch.from_numpy(row.trunk[: branch.start]), torch.from_numpy(branch.ids)])
    weights = torch.zeros(1, len(ids) - 1)
    weights[0, -branch.num_scored :] = 1
    arrays = {"input_ids": ids[None, :-1].numpy(), "target_ids": ids[None, 1:].numpy()}
    return causal(Batch(**arrays, weights=weights.numpy(), num_bytes=0.0))


def model(kind: str) -> Transformer:
    return tiny.model(tiny.config(decoder=tiny.stack(position=PositionConfig(kind=kind), num_layers=3)))  # type: ignore[arg-type]


def scored(logits: Tensor, task: Task) -> Tensor:
    return logits.flatten(0, 1) if task.weights is None else logits[task.weights == 1]


@pytest.mark.parametrize("kind", tiny.POSITIONS)
def test_a_branch_is_what_it_would_be_alone(kind: str) -> None:
    ours = model(kind)
    task = answers(batch_of(*ROWS))
    assert len(task.input_ids) == 2
    lone = [alone(row, branch) for row in ROWS for branch in row.branches]
    wanted = torch.cat([scored(predict(ours, each), each) for each in lone])
    tiny.assert_close(scored(predict(ours, task), task), wanted)
    assert task.num_scored == sum(each.num_scored for each in lone) == 12


def test_the_gradients_are_those_of_all_questions_alone() -> None:
    ours = model("rotary").requires_grad_(True)
    task = answers(batch_of(*ROWS))
    cross_entropy(predict(ours, task), task).backward()
    together = {name: parameter.grad for name, parameter in ours.named_parameters()}
    ours.zero_grad(set_to_none=True)
    for row in ROWS:
        for branch in row.branches:
            each = alone(row, branch)
            cross_entropy(predict(ours, each), each).backward()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_what_a_branch_must_not_see_changes_no_bit() -> None:
    ours, batch = model("rotary"), batch_of(*ROWS)
    base = predict(ours, answers(batch))
    (place,) = (number for number, row in enumerate(batch.branches) if row.max() == 2)
    for changed in (0, 1, 2):  # of the longest row, whose second branch sees four tokens of nine
        other = batch_of(*ROWS)
        own = other.branches[place] == changed
        other.input_ids[place][own] = (other.input_ids[place][own] + 1) % tiny.VOCAB
        moved = predict(ours, answers(other))
        is_same = (moved[place] == base[place]).all(dim=-1)
        assert is_same[torch.from_numpy(~own)].all()
        assert not is_same[torch.from_numpy(own)].any()
    other = batch_of(*ROWS)
    other.input_ids[place][6] = (other.input_ids[place][6] + 1) % tiny.VOCAB  # of the trunk
    is_same = (predict(ours, answers(other))[place] == base[place]).all(dim=-1)
    second = torch.from_numpy(batch.branches[place] == 1)
    assert is_same[second].all()
    assert is_same[:6].all()
    assert not is_same[6:9].any()
    assert not is_same[torch.from_numpy(batch.branches[place] != 1) & (torch.arange(len(is_same)) >= 9)].any()
