"""Traces: batches, places, both stacks and every step of a generation, each equal to a plain pass; and what they may take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig
from cutaway.decode import Sampling
from cutaway.errors import CutawayError
from cutaway.lens.places import token_axis
from cutaway.lm import LM
from cutaway.model import Transformer
from tests import tiny

from .models import BYTES, one_stack, two_stacks

TEXT = "the cat"
FROM_END = {"site": "output.norm", "op": "zero", "positions": "-2:"}
OF_SOURCE = {"site": "encoder.output.norm", "op": "zero", "positions": [-1]}


@pytest.mark.parametrize("kind", ["learned", "rotary", "alibi"])
def test_texts_of_different_lengths_are_traced_as_each_alone(kind: Any) -> None:
    lm, texts = one_stack(position=PositionConfig(kind=kind)), ["the cat", "a", "dogs"]
    trace = lm.trace(texts)
    assert [len(row) for row in trace.texts] == [7, 1, 4]
    for row, text in enumerate(texts):
        single = lm.trace(text)
        for name, tensor in single.items():
            part = trace[name][row]
            for axis, size in enumerate(tensor.shape[1:]):
                part = part.narrow(axis, 0, size)
            torch.testing.assert_close(part, tensor[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", [2, [0, 5], "3:", "-2:"])
def test_chosen_places_are_those_of_the_whole(positions: Any) -> None:
    for lm, target in ((one_stack(), None), (two_stacks(), "ein kater")):
        whole, part = lm.trace(TEXT, target=target), lm.trace(TEXT, target=target, positions=positions)
        assert part.names == whole.names
        for name, tensor in part.items():
            axis = token_axis(whole.axes[name])
            assert axis is not None
            count = whole[name].shape[axis]
            chosen = {"3:": range(3, count), "-2:": range(count - 2, count)}.get(str(positions), positions)
            chosen = [chosen] if isinstance(chosen, int) else list(chosen)
            assert torch.equal(tensor, whole[name].index_select(axis, torch.tensor(chosen)))


def test_the_sites_say_what_a_trace_takes() -> None:
    for lm, target in ((one_stack(), None), (two_stacks(), "ein")):
        sites, trace = lm.sites(TEXT, target), lm.trace(TEXT, target=target)
        assert {site.name: site.shape for site in sites} == trace.shapes
        assert sum(site.num_bytes for site in sites) == trace.num_bytes
        assert {site.name: site.axes for site in sites} == trace.axes
        assert {site.dtype for site in sites} == {"float32"}
    half = one_stack()
    half.model.to(torch.bfloat16)
    assert {site.dtype for site in half.sites(TEXT)} == {"bfloat16"}
    assert sum(site.num_bytes for site in half.sites(TEXT)) == half.trace(TEXT).num_bytes


def test_more_than_the_budget_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = one_stack()
    total = lm.trace(TEXT).num_bytes
    assert lm.trace(TEXT, max_bytes=total).num_bytes == total
    few = lm.trace(TEXT, positions=[0]).num_bytes
    steps = lm.trace_steps(TEXT, "layers.*.residual.end", max_tokens=5).num_bytes

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to run")

    monkeypatch.setattr(Transformer, "states", forbidden)
    with pytest.raises(
        CutawayError, match=f"would take {total:,} bytes, and max_bytes is {total - 1:,}; the largest, "
    ):
        lm.trace(TEXT, max_bytes=total - 1)
    with pytest.raises(CutawayError, match=f"{few:,} bytes"):
        lm.trace(TEXT, positions=[0], max_bytes=10)
    with pytest.raises(CutawayError, match=f"{steps:,} bytes"):
        lm.trace_steps(TEXT, "layers.*.residual.end", max_tokens=5, max_bytes=10)


def test_the_budget_of_steps_is_what_they_take() -> None:
    """As many bytes as the trace then has: of a model of any type, with a source kept once, up to the end of its positions."""
    half = one_stack()
    half.model.to(torch.bfloat16)
    sides = ["*.output.norm", "decoder.layers.0.cross.weights"]
    for lm, sites, most in (
        (one_stack(), "*", 5),
        (half, "*", 5),
        (two_stacks(), sides, 5),
        (one_stack(), "layers.1.attention.weights", 60),
    ):
        steps = lm.trace_steps(TEXT, sites, max_tokens=most)
        assert lm.trace_steps(TEXT, sites, max_tokens=most, max_bytes=steps.num_bytes).num_bytes == steps.num_bytes
        with pytest.raises(CutawayError, match=f"would take {steps.num_bytes:,} bytes"):
            lm.trace_steps(TEXT, sites, max_tokens=most, max_bytes=steps.num_bytes - 1)


def test_steps_have_the_texts_of_what_was_chosen() -> None:
    steps = one_stack().trace_steps(TEXT, "output.norm", max_tokens=4)
    assert steps.tokens == tuple(BYTES.token_text(i) for i in steps.ids[0].tolist())
    pair = two_stacks().trace_steps(TEXT, ["encoder.output.norm", "output.logits"], max_tokens=2)
    assert pair.texts_of("encoder.output.norm") == tuple(TEXT.replace(" ", "␣"))
    assert len(pair.texts_of("output.logits")) == 2


def assert_steps_are_passes(lm: LM, target: bool) -> None:
    steps = lm.trace_steps(TEXT, max_tokens=6)
    said = steps.ids[0].tolist()
    assert len(set(said)) > 2, "a text that does not vary proves little"
    for step in range(6):
        before = said[:step]
        whole = lm.trace(TEXT, target=before or "") if target else lm.trace([*BYTES.encode(TEXT), *before])
        assert set(steps.names) == set(whole.names)
        for name, tensor in whole.items():
            axis = token_axis(whole.axes[name])
            assert axis is not None
            if steps.axes[name][0] != "step":
                torch.testing.assert_close(steps[name], tensor, rtol=1e-4, atol=1e-4)
                continue
            last = tensor.select(axis, -1)
            found = steps[name][step]
            assert not found[..., last.shape[-1] :].any(), "what is not there yet is zero"
            torch.testing.assert_close(found[..., : last.shape[-1]], last, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["learned", "rotary", "relative"])
def test_a_step_of_a_generation_is_the_end_of_a_pass_over_all_before(kind: Any) -> None:
    assert_steps_are_passes(one_stack(position=PositionConfig(kind=kind)), target=False)


def test_so_it_is_with_two_stacks_and_the_source_is_there_once() -> None:
    lm = two_stacks()
    assert_steps_are_passes(lm, target=True)
    steps = lm.trace_steps(TEXT, "*.output.norm", max_tokens=3)
    assert steps.axes["encoder.output.norm"] == ("batch", "position", "d_model")
    assert steps.axes["decoder.output.norm"] == ("step", "batch", "d_model")


def test_steps_are_drawn_as_generation_draws() -> None:
    lm, drawn = one_stack(), Sampling(temperature=1.0, seed=3)
    steps = lm.trace_steps(TEXT, "output.logits", max_tokens=5, sampling=drawn)
    events = [piece.event for piece in lm.stream(TEXT, max_tokens=5, sampling=drawn)]
    assert steps.ids[0].tolist() == [event.new for event in events if event is not None]


def test_an_encoder_decoder_says_its_own_target_where_none_is_given() -> None:
    lm = two_stacks()
    said = [piece.event.new for piece in lm.stream(TEXT, max_tokens=300) if piece.event is not None]
    own = lm.trace(TEXT, "output.logits")
    assert own.ids[0].tolist() == [lm.config.tokens.decoder_start, *said][: own.ids.shape[1]]
    assert own.ids.shape[1] == lm.config.context, "as long as there is room, for nothing ends it"


def test_what_cannot_be_read_is_said() -> None:
    one, two = one_stack(), two_stacks()
    encoder = LM(tiny.model(tiny.config(encoder=tiny.stack(), decoder=None)), None, "reads")
    for ask, message in (
        (lambda: one.trace(TEXT, target="x"), "says no target"),
        (lambda: two.trace([TEXT, "b"], target=["x"]), "2 sources and 1 targets"),
        (lambda: one.trace(""), "Nothing to look at yet"),
        (lambda: one.trace(["a", ""]), "Nothing to look at yet"),
        (lambda: one.trace_steps(["a", "b"]), "measured on one text, and there are 2"),
        (lambda: encoder.trace_steps([1, 2], max_tokens=2), "has an encoder only"),
        (lambda: one.trace(torch.tensor([1.0, 2.0])), "Ids are whole numbers, and these are float32"),
        (
            lambda: one.trace([TEXT, "a"], positions=-1),
            "counted from the end, and the texts have different lengths: 1 to 7",
        ),
        (lambda: one.trace([TEXT, "a"], edits=[FROM_END]), "counted from the end"),
        (lambda: two.trace([TEXT, "ab"], target=["x", "y"], edits=[OF_SOURCE]), "different lengths: 2 to 7"),
        (lambda: one.trace(TEXT, positions="7:"), "holds nothing: there are 7"),
        (lambda: one.trace(TEXT, "output.logit"), "Did you mean 'output.logits'"),
        (lambda: one.trace(TEXT, positions=9), "positions names 9, and there are 7"),
    ):
        with pytest.raises(CutawayError, match=message):
            ask()  # type: ignore[no-untyped-call]
