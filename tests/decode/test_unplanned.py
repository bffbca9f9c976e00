"""Whatever a plan does not know, the readable pass does: taps, edits, adapters, models that change, other stores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutaway.decode import Session
from cutaway.errors import CutawayError
from cutaway.lens import Recorder
from cutaway.model import Transformer, layouts, visibility
from cutaway.model.adapter import LowRank, detach, put_adapter
from cutaway.runtime.native.loader import library
from cutaway.runtime.plans import UnplannedError, record, recorder
from cutaway.runtime.plans.planner import PLANS
from cutaway.runtime.plans.program import Program
from cutaway.runtime.plans.symbol import Symbol
from cutaway.runtime.plans.tape import Tape
from tests import tiny

from . import translator
from .planned import HAS_KERNELS, SHAPES, feed, made, readable, tokens, written

pytestmark = HAS_KERNELS


class Doubling:
    """An edit: a layer's output counts twice."""

    def wants(self, site: str) -> bool:
        return site == "layers.0.feedforward.output"

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        return tensor * 2 if self.wants(site) else tensor


def test_taps_and_edits_in_mid_generation(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(9)
    watch = Recorder("layers.1.attention.weights", ["layers.1.attention.weights"])
    session, plain = Session(model), Session(model, is_planned=False)
    for place, token in enumerate(ids):
        seen = watch if 3 <= place < 5 else Doubling() if 6 <= place < 8 else None
        session.watch = plain.watch = seen
        logits = session.extend([token])
        tiny.assert_close(logits, plain.extend([token]))
    assert watch.tensors["layers.1.attention.weights"].shape == (1, 4, 1, 5)
    assert replays == [token for place, token in enumerate(ids) if place in (0, 1, 2, 5, 8)]
    assert (logits - readable(model, ids)[-1:]).abs().max() > 1e-2, "the edit changes what is said"


def test_an_adapter_that_comes_and_goes(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(9)
    session = Session(model)
    feed(session, ids[:3])
    adapter = put_adapter(model, "decoder.layers.0.attention.sublayer.query", LowRank(rank=2, alpha=4.0))
    for factor in (adapter.up, adapter.down):
        factor.data.normal_(generator=torch.Generator().manual_seed(3))
    plain = Session(model, is_planned=False)
    plain.store = session.store.fork()
    tiny.assert_close(feed(session, ids[3:]), feed(plain, ids[3:]))
    assert len(replays) == 3
    assert session.planner is not None
    assert "Adapter" in str(session.planner.reason)
    detach(model)
    tiny.assert_close(feed(Session(model), ids), readable(model, ids))
    assert len(replays) == 12, "a new session has a plan again"


def test_training_mode_and_mixed_precision_run_the_readable_pass(replays: list[int]) -> None:
    model, ids = made(SHAPES["learned positions, tied"]), tokens(4)
    feed(Session(model.train()), ids)
    with torch.autocast("cpu", torch.bfloat16):
        feed(Session(model.eval(), dtype=torch.float32), ids)
    assert not replays
    with torch.enable_grad():
        logits = feed(Session(model.requires_grad_(True)), ids)
    assert not logits.requires_grad
    assert len(replays) == 4


def changed_in_place(model: Transformer) -> None:
    model.load_state_dict(tiny.model(model.config, seed=9).state_dict())


def moved(model: Transformer) -> None:
    for one, other in zip(model.parameters(), tiny.model(model.config, seed=9).parameters(), strict=True):
        one.data = other.data


def replaced(model: Transformer) -> None:
    layer = model.main.layers[1].feedforward.sublayer
    layer.output.weight = nn.Parameter(layer.output.weight * 2, requires_grad=False)


def a_bias_put_on(model: Transformer) -> None:
    layer = model.main.layers[0].feedforward.sublayer
    layer.input.bias = nn.Parameter(torch.ones(40), requires_grad=False)


def another_layer(model: Transformer) -> None:
    model.main.layers[0] = tiny.model(model.config, seed=9).main.layers[1]


def another_knob(model: Transformer) -> None:
    model.main.norm.eps = 1.0


def another_scale(model: Transformer) -> None:
    assert model.head is not None
    model.head.scale = 2.0


def a_hook(model: Transformer) -> None:
    model.main.layers[0].register_forward_hook(lambda *given: given[-1] * 2)


CHANGES = (changed_in_place, moved, replaced, a_bias_put_on, another_layer, another_knob, another_scale, a_hook)


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changes_under_its_plan(change: Any, replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(8)
    session, before = Session(model), readable(model, ids)
    feed(session, ids[:4])
    change(model)
    plain = Session(model, is_planned=False)
    plain.store = session.store.fork()
    found = feed(session, ids[4:])
    tiny.assert_close(found, feed(plain, ids[4:]))
    assert (found - before[4:]).abs().max() > 1e-2, "the change changes what is said"
    assert len(replays) == 8 or change is a_hook


def test_what_plans_do_not_know_is_said_and_runs(replays: list[int]) -> None:
    experts = tiny.model(tiny.config(decoder=tiny.variants()["experts"]))
    assert "Experts" in str(record(experts, 1))
    double = tiny.model(SHAPES["slopes"], dtype=torch.float64)
    assert "fp32" in str(record(double, 1))
    for model in (experts, double):
        assert feed(Session(model), tokens(3)).isfinite().all()
    assert isinstance(record(translator(), 1), str)
    Session(translator(), source_ids=[3, 4]).extend([5])
    assert not replays


def test_stores_that_plans_do_not_fill_run_the_readable_pass(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(4)
    half = Session(model, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        half.extend(ids[:1])
    assert not replays
    placed = Session(model)
    placed.extend(ids[:3], tokens=visibility.full(3))
    placed.extend([5])
    assert replays == [*ids[:3], 5]
    for hidden in (visibility.packed(torch.tensor([[1]]), torch.tensor([[4]])), layouts.noised_block(4, 5, 1)):
        placed.extend([7], "none", tokens=hidden)
        before = len(replays)
        placed.extend([5])
        placed.extend([5, 6])
        assert len(replays) == before, "not behind what they do not see"
        placed.rewind(4)
    assert len(replays) == 5, "behind a text that a token of its own block sees"


def test_a_plan_that_computes_something_else_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, original = made(SHAPES["gated, grouped, rotary"]), tokens(6), Program.replay

    def wrong(self: Program, now: Any, count: int | None = None) -> None:
        original(self, now, len(self.ops) - 2 if count is None else count)

    monkeypatch.setattr(Program, "replay", wrong)
    session = Session(model)
    assert torch.equal(feed(session, ids), readable(model, ids))
    assert session.planner is not None
    assert "other numbers" in str(session.planner.reason)
    assert PLANS.get(model) is None


def test_weights_that_become_no_numbers_are_found() -> None:
    model = made(SHAPES["gated, grouped, rotary"])
    session = Session(model)
    session.extend([3])
    session.extend([4])
    model.main.layers[0].attention.sublayer.query.weight[0, 0] = torch.nan
    with pytest.raises(CutawayError, match="are not numbers"):
        written(session, [5], 2)


def test_without_kernels_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "library", lambda: "they were not built")
    model, ids = made(SHAPES["slopes"]), tokens(4)
    session = Session(model)
    assert torch.equal(feed(session, ids), readable(model, ids))
    assert session.planner is not None
    assert "not built" in str(session.planner.reason)


def test_a_forward_that_cannot_be_recorded_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the recording is a reason, never one for the user."""
    monkeypatch.setattr("cutaway.runtime.plans.tape.Tape.rotate", lambda *_: None)
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(4)
    session = Session(model)
    assert torch.equal(feed(session, ids), readable(model, ids))
    assert session.planner is not None
    assert "cannot be recorded" in str(session.planner.reason)


def test_tables_that_are_too_short_have_no_plan() -> None:
    model = made(SHAPES["learned positions, tied"])
    assert not isinstance(record(model, 1), str)
    table = model.main.embedding.position
    table.weight = nn.Parameter(table.weight[:9].clone(), requires_grad=False)
    assert "longer than its table" in str(record(model, 1))


def test_a_model_without_head_keeps_reading() -> None:
    model = tiny.model(tiny.config(has_head=False))
    session = Session(model)
    session.extend([3], "none")
    session.extend([4], "none")
    assert session.length == 2


READS: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "item": lambda x: x.item(),
    "a part": lambda x: x[..., :2],
    "a comparison": lambda x: x.gt(0),
    "a function": lambda x: torch.softmax(x, -1),
    "a matrix": lambda x: x @ x,
    "another type": lambda x: x.to(torch.float64),
    "a tensor": lambda x: x * torch.ones(8),
    "turned around": lambda x: x.unflatten(-1, (2, 4)).transpose(2, 3),
}


@pytest.mark.parametrize("name", READS)
def test_whoever_asks_for_values_or_the_unknown_ends_the_recording(name: str) -> None:
    kernels = library()
    assert not isinstance(kernels, str), kernels
    tape = Tape(kernels)
    symbol = Symbol(tape, tape.fixed(torch.ones(8)), (1, 1, 8))
    with pytest.raises((UnplannedError, TypeError)):
        READS[name](symbol)
    assert (symbol + symbol).shape == (1, 1, 8)
