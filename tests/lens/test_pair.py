"""Both stacks watched at once: every site of the table, weights that add up, and numbers that no watcher changes."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.lens.pair import cross_attention, trace_pair
from cutaway.lens.sites import sites
from cutaway.model import Call, Transformer
from cutaway.model.visibility import causal, full
from cutaway.runtime.attend import fused
from tests import tiny

SOURCE, INPUT = [5, 9, 3, 7, 2], [0, 11, 4]


def two_stacks() -> Transformer:
    return tiny.model(tiny.config(encoder=tiny.stack(num_layers=2), decoder=tiny.stack(num_layers=3)))


def test_every_site_is_seen_with_its_shape() -> None:
    model = two_stacks()
    trace = trace_pair(model, SOURCE, INPUT)
    assert trace.shapes == {site.name: site.shape for site in sites(model.config, 1, 3, source=5)}


def test_watching_changes_no_logit() -> None:
    model = two_stacks()
    memory = model.encode(torch.tensor([SOURCE]), Call(full(5), attend=fused))
    expected = model(torch.tensor([INPUT]), Call(causal(3), attend=fused, memory=memory))
    assert torch.equal(trace_pair(model, SOURCE, INPUT, "output.logits")["output.logits"], expected)


def test_attention_to_the_source_is_a_distribution_of_the_layer_that_was_asked_for() -> None:
    model = two_stacks()
    weights = cross_attention(model, SOURCE, INPUT)
    assert weights.shape == (3, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(3))
    assert torch.equal(weights, cross_attention(model, SOURCE, INPUT, layer=2))
    assert not torch.allclose(weights, cross_attention(model, SOURCE, INPUT, layer=1))


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(CutawayError, match=r"No site matches 'decoder.layers.9.cross.weights'"):
        cross_attention(two_stacks(), SOURCE, INPUT, layer=9)
