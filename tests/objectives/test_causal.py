"""The causal task: targets follow inputs, weights are kept, and packed documents never see one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cutaway.data import Batch, Loader
from cutaway.model import Call, Transformer
from cutaway.model.visibility import allow
from cutaway.objectives import Task, causal, cross_entropy
from cutaway.runtime.attend import fused
from tests import tiny

from . import batches


def stream() -> Batch:
    return Loader([batches.corpus()], context=8, micro_batch_size=3, seed=1).batch(0)


def test_a_stream_is_causal_and_unweighted() -> None:
    task = causal(stream())
    assert task.weights is None
    assert task.num_scored == 24
    assert torch.equal(task.input_ids[:, 1:], task.target_ids[:, :-1])
    seen = allow(task.tokens, task.tokens)
    assert torch.equal(seen[0], torch.ones(8, 8).tril().bool())


def test_weights_that_are_not_all_1_are_kept() -> None:
    batch = stream()
    halves = np.full_like(batch.weights, 0.5)
    weights = causal(replace(batch, weights=halves)).weights
    assert weights is not None
    assert weights.unique().tolist() == [0.5]


def test_packed_tokens_see_their_own_document_up_to_themselves() -> None:
    batch = batches.packed(6)
    task = causal(batch)
    seen = allow(task.tokens, task.tokens).numpy()
    assert batch.segments is not None
    same = batch.segments[:, :, None] == batch.segments[:, None, :]
    is_text = batch.segments >= 0
    expected = same & np.tri(12, dtype=bool)
    assert (seen == expected)[is_text].all()
    assert (batch.segments == -1).any()
    assert batch.segments.max() >= 1


def gradient_at_inputs(model: Transformer, task: Task, scored: Tensor) -> Tensor:
    """|d loss / d embedding| of each input token, where only some targets are scored. scored: [batch, position] -> the same."""
    found: list[Tensor] = []

    class Watcher:
        def wants(self, site: str) -> bool:
            return site == "embedding.sum"

        def __call__(self, site: str, tensor: Tensor) -> Tensor:
            if not self.wants(site):
                return tensor
            found.append(tensor.detach().requires_grad_())
            return found[-1]

    logits = model(task.input_ids, Call(task.tokens, attend=fused, watch=Watcher()))
    cross_entropy(logits, replace(task, weights=scored.to(logits.dtype))).backward()
    (vectors,) = found
    assert vectors.grad is not None
    return vectors.grad.abs().sum(-1)


@pytest.mark.parametrize("window", [False, True])
def test_a_document_has_no_gradient_at_anothers_tokens(window: bool) -> None:
    knobs = {"layer_types": tiny.NEAR, "pattern": ("near", "full")} if window else {}
    model = tiny.model(tiny.config(decoder=tiny.stack(**knobs)))
    batch = batches.packed(5)
    task = causal(batch)
    segments = torch.as_tensor(batch.segments)
    for segment in range(int(segments.max()) + 1):
        mine = segments == segment
        gradient = gradient_at_inputs(model, task, mine)
        assert (gradient[~mine] == 0).all()
        assert (gradient[mine] > 0).all()


def test_a_packed_documents_loss_is_its_loss_alone() -> None:
    model = tiny.model(tiny.config(), dtype=torch.float64)
    batch = batches.packed(4)
    task = causal(batch)
    segments = torch.as_tensor(batch.segments)
    logits = model(task.input_ids, Call(task.tokens, attend=fused))
    for row in range(4):
        for segment in range(int(segments[row].max()) + 1):
            mine = segments[row] == segment
            alone = Batch(
                input_ids=batch.input_ids[row : row + 1, mine],
                target_ids=batch.target_ids[row : row + 1, mine],
                weights=batch.weights[row : row + 1, mine],
                num_bytes=0.0,
            )
            single = causal(alone)
            tiny.assert_close(logits[row : row + 1, mine], model(single.input_ids, Call(single.tokens, attend=fused)))
