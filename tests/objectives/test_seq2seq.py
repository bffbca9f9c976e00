"""A batch of pairs as a task: the same losses as each pair by itself, whatever the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cutaway.data import PairBatch
from cutaway.model import Call, Transformer
from cutaway.model.visibility import causal, full
from cutaway.objectives import cross_entropy, seq2seq
from cutaway.train.step import predict
from tests import tiny

START, END, PAD = 0, 1, 2


def batch(pairs: list[tuple[list[int], list[int]]]) -> PairBatch:
    sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    width = [max(map(len, side)) for side in (sources, targets)]
    source_ids = np.array([[*ids, *[PAD] * (width[0] - len(ids))] for ids in sources])
    target_ids = np.array([[*ids, *[PAD] * (width[1] - len(ids))] for ids in targets])
    weights = np.array([[1.0] * len(ids) + [0.0] * (width[1] - len(ids)) for ids in targets], dtype=np.float32)
    start = np.full((len(pairs), 1), START)
    return PairBatch(
        source_ids=source_ids,
        source_lengths=np.array([len(ids) for ids in sources]),
        input_ids=np.concatenate([start, target_ids[:, :-1]], axis=1),
        target_ids=target_ids,
        weights=weights,
        num_bytes=1.0,
    )


def alone(model: Transformer, source: list[int], target: list[int]) -> float:
    memory = model.encode(torch.tensor([source]), Call(full(len(source))))
    logits = model(torch.tensor([[START, *target[:-1]]]), Call(causal(len(target)), memory=memory))
    return -float(logits[0].log_softmax(-1).gather(-1, torch.tensor(target)[:, None]).sum())


@pytest.mark.parametrize(
    "pairs",
    [
        [([5, 9, END], [7, END]), ([4, 8, END], [6, 3, 9, END])],
        [([5, END], [7, END]), ([4, 8, 11, 3, END], [6, END])],
        [([5, 9, END], [7, END])],
    ],
)
def test_a_batch_is_the_sum_of_its_pairs(pairs: list[tuple[list[int], list[int]]]) -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack()))
    task = seq2seq(batch(pairs))
    loss = float(cross_entropy(predict(model, task), task))
    assert loss == pytest.approx(sum(alone(model, *pair) for pair in pairs), rel=1e-5)
    assert task.num_scored == sum(len(target) for _, target in pairs)


def test_sources_of_one_length_need_no_mask() -> None:
    even = seq2seq(batch([([5, 9, END], [7, END]), ([4, 8, END], [6, 3, END])]))
    ragged = seq2seq(batch([([5, END], [7, END]), ([4, 8, END], [6, END])]))
    assert even.source is not None
    assert ragged.source is not None
    assert (even.source.flag, ragged.source.flag) == ("full", None)


def test_smoothing_is_the_mean_over_the_vocabulary() -> None:
    logits = torch.randn(1, 2, 31)
    task = seq2seq(batch([([5, END], [7, END])]))
    plain, smooth = float(cross_entropy(logits, task)), float(cross_entropy(logits, task, 0.1))
    uniform = -float(logits[0].log_softmax(-1).mean(-1).sum())
    assert smooth == pytest.approx(0.9 * plain + 0.1 * uniform, rel=1e-5)
