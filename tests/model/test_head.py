"""What stands around the stack of a masked language model: types of tokens before it, a transform and a pooler behind it."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.model import Call, visibility
from tests import tiny
from tests.reference.layers import gelu_tanh, linear, norm

IDS = tiny.ids(2, 5)


def test_the_transform_is_a_dense_layer_an_activation_and_a_norm() -> None:
    """Devlin et al. 2019, as released: logits = E · norm(f(W h + b)) + b', with the embedding E for matrix."""
    model = tiny.model(tiny.config(encoder=tiny.stack(), is_tied=True, head_bias=True, head_transform="gelu_tanh"))
    call, weights = Call(visibility.full(5)), dict(model.named_parameters())
    states = model.states(IDS, call)
    hidden = norm(gelu_tanh(linear(states, weights, "head.transform.dense")), weights, "head.transform.norm")
    wanted = hidden @ weights["token.weight"].T + weights["head.projection.bias"]
    tiny.assert_close(model.logits(states, call), wanted)
    assert model.head is not None
    assert model.head.projection.weight is model.token.weight


def test_the_pooler_reads_the_first_state() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), has_head=False, has_pooler=True))
    call, weights = Call(visibility.full(5)), dict(model.named_parameters())
    states = model.states(IDS, call)
    tiny.assert_close(model.pooled(states, call), torch.tanh(linear(states[:, 0], weights, "pooler.dense")))


def test_labels_are_one_projection_of_each_state() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), has_head=False, num_labels=2))
    call = Call(visibility.full(6))
    states, weights = model.states(tiny.ids(2, 6), call), model.state_dict()
    assert model.labelled(states, call).shape == (2, 6, 2)
    torch.testing.assert_close(model.labelled(states, call), linear(states, weights, "labels.projection"))
    with pytest.raises(CutawayError, match="scores no labels"):
        tiny.model(tiny.config()).labelled(states, call)


def test_a_model_without_pooler_says_so() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), has_head=False))
    with pytest.raises(CutawayError, match="no pooler"):
        model.pooled(torch.zeros(1, 1, 16), Call(visibility.full(1)))


def test_types_add_their_row_before_the_norm() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(num_token_types=3, has_embedding_norm=True)))
    types, weights = torch.tensor([[0, 2, 1, 1, 0]]), dict(model.named_parameters())
    recorder = tiny.recorder(model, 2, 5, "embedding.*")
    model(IDS, Call(visibility.full(5), types=types, watch=recorder))
    seen = recorder.tensors
    rows = weights["encoder.embedding.types.weight"][types].expand(2, -1, -1)
    assert torch.equal(seen["embedding.type"], rows)
    summed = seen["embedding.token"] + seen["embedding.position"] + rows
    tiny.assert_close(seen["embedding.sum"], norm(summed, weights, "encoder.embedding.norm"))


def test_without_types_in_the_call_all_are_the_first() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(num_token_types=2)))
    plain, call = model(IDS, Call(visibility.full(5))), Call(visibility.full(5), types=torch.zeros_like(IDS))
    assert torch.equal(model(IDS, call), plain)
    other = model(IDS, Call(visibility.full(5), types=torch.ones_like(IDS)))
    assert not torch.isclose(other, plain, atol=1e-3).all()
