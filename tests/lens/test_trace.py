"""Recorders and traces: what they keep, that they change nothing, and what they say when asked for something else."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.lens import Recorder, Trace, sites
from cutaway.model import Call, visibility
from cutaway.model.call import Watch
from tests import tiny

IDS = tiny.ids(2, 5)
NAMES = [site.name for site in sites(tiny.config(), 2, 5)]


def recorded(patterns: str | list[str]) -> tuple[Recorder, torch.Tensor]:
    recorder = Recorder(patterns, NAMES)
    watch: Watch = recorder
    return recorder, tiny.model(tiny.config())(IDS, Call(visibility.causal(5), watch=watch))


def test_it_keeps_what_the_patterns_name_and_changes_nothing() -> None:
    recorder, logits = recorded(["layers.*.attention.weights", "output.logits"])
    assert torch.equal(logits, tiny.model(tiny.config())(IDS, Call(visibility.causal(5))))
    trace = recorder.trace(IDS, [["a", "b", "c", "d", "e"]])
    assert trace.names == ["layers.0.attention.weights", "layers.1.attention.weights", "output.logits"]
    assert torch.equal(trace["output.logits"], logits)
    weights = trace["layers.0.attention.weights"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
    assert not weights.triu(1).any(), "causal"
    assert trace.tokens == ("a", "b", "c", "d", "e")
    assert torch.equal(trace.ids, IDS)


def test_names_come_in_the_order_of_the_way_and_shapes_as_announced() -> None:
    recorder, _ = recorded("*")
    trace = recorder.trace(IDS)
    assert list(trace) == trace.names == NAMES
    assert trace.shapes == {site.name: site.shape for site in sites(tiny.config(), 2, 5)}
    assert len(trace) == len(NAMES)
    assert trace.num_bytes == 4 * sum(tensor.numel() for _, tensor in trace.items())


def test_copies_are_detached_and_stay_as_they_were() -> None:
    model = tiny.model(tiny.config()).requires_grad_(True)
    recorder = Recorder("output.logits", NAMES)
    logits = model(IDS, Call(visibility.causal(5), watch=recorder))
    kept = recorder.tensors["output.logits"]
    assert logits.requires_grad
    assert not kept.requires_grad
    before = kept.clone()
    logits.data.zero_()
    assert torch.equal(kept, before)


def test_a_later_pass_replaces_what_an_earlier_one_left() -> None:
    recorder, _ = recorded("output.logits")
    first = recorder.trace(IDS)
    logits = tiny.model(tiny.config(), seed=2)(IDS, Call(visibility.causal(5), watch=recorder))
    assert torch.equal(recorder.trace(IDS)["output.logits"], logits)
    assert not torch.equal(first["output.logits"], logits), "a trace that was taken keeps what it saw"


def test_a_pattern_without_a_site_is_refused_before_anything_runs() -> None:
    with pytest.raises(CutawayError, match=r"No site matches 'layers\.7"):
        Recorder("layers.7.*", NAMES)


def test_a_site_that_was_not_watched_names_its_neighbours() -> None:
    trace = Trace({"layers.0.attention.weights": torch.zeros(1)}, IDS)
    assert "layers.0.attention.weights" in trace
    assert "layers.1.attention.weights" not in trace
    with pytest.raises(CutawayError, match=r"'layers\.1\.attention\.weights'.*'layers\.0\.attention\.weights'"):
        trace["layers.1.attention.weights"]
