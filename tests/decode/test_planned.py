"""Sessions with a recorded plan write what those without write; and whatever a plan does not know, the readable pass does."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cutaway
from cutaway.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    RotaryScaling,
    StackConfig,
)
from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.errors import CutawayError
from cutaway.lens import Recorder
from cutaway.model import Transformer
from cutaway.model.adapter import LowRank, detach, put_adapter
from cutaway.runtime.kernels import accelerate
from cutaway.runtime.native.loader import library, supported
from cutaway.runtime.plans import Plan, record
from cutaway.runtime.plans.planner import PLANS
from cutaway.runtime.plans.program import Program
from cutaway.runtime.quantise import prepare
from tests import tiny
from tests.decode import translator

ABSENT = library() if isinstance(library(), str) else ""
pytestmark = pytest.mark.skipif(bool(ABSENT) and not supported(), reason=f"No kernels here: {ABSENT}")

ROTARY, RMS = PositionConfig(kind="rotary"), NormConfig(kind="rms")
SWIGLU = FeedForwardConfig(d_hidden=40, activation="silu", is_gated=True, bias=False)
PLAIN = AttentionConfig(num_heads=4, num_kv_heads=2, bias=False, output_bias=False)
LLAMA = tiny.stack(position=ROTARY, norm=RMS, attention=PLAIN, feedforward=SWIGLU)
SHAPES: dict[str, ModelConfig] = {
    "learned positions, tied": tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="learned")), is_tied=True, embedding_scale=3.0
    ),
    "gated, grouped, rotary": tiny.config(decoder=LLAMA, embedding_scale=3.0),
    "stretched rotary": tiny.config(
        decoder=tiny.stack(
            position=PositionConfig(kind="rotary", scaling=RotaryScaling(kind="yarn", factor=4.0, original_context=8)),
            norm=RMS,
            attention=PLAIN,
        ),
        embedding_scale=3.0,
    ),
    "sandwich, windows, caps": tiny.config(
        decoder=tiny.stack(
            placement="sandwich",
            position=ROTARY,
            norm=NormConfig(kind="rms", offset=1.0),
            attention=AttentionConfig(num_heads=4, num_kv_heads=2, d_head=6, bias=False, softcap=5.0, scale=0.4),
            feedforward=FeedForwardConfig(d_hidden=24, is_gated=True, bias=False),
            layer_types={"near": LayerType(window=4), "far": LayerType()},
            pattern=("near", "far"),
        ),
        embedding_scale=4.0,
        logit_softcap=3.0,
        logit_scale=1.5,
    ),
    "parallel, partly rotary": tiny.config(
        decoder=tiny.stack(placement="parallel", position=PositionConfig(kind="rotary", fraction=0.5)),
        head_bias=True,
        embedding_scale=3.0,
    ),
    "slopes": tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="alibi"), has_embedding_norm=True), embedding_scale=5.0
    ),
}


def made(config: ModelConfig, *, is_native: bool = True, seed: int = 4) -> Transformer:
    model = tiny.model(config, seed=seed)
    if is_native:
        accelerate(model)
    return model


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The token of every pass that a plan ran."""
    seen, original = list[int](), Plan.run

    def counted(self: Plan, token_id: int, *rest: Any, **more: Any) -> Tensor:
        seen.append(token_id)
        return original(self, token_id, *rest, **more)

    monkeypatch.setattr(Plan, "run", counted)
    return seen


def feed(session: Session, ids: Sequence[int]) -> Tensor:
    """One token a pass: logits [position, vocab]."""
    return torch.cat([session.extend([token]) for token in ids])


def readable(model: Transformer, ids: Sequence[int]) -> Tensor:
    return feed(Session(model, is_planned=False), ids)


def written(session: Session, prompt: Sequence[int], count: int) -> list[int]:
    decoder = autoregressive(session, prompt, Sampling(temperature=1.0, seed=2), max_tokens=count, eos_ids=())
    return [event.new for event in run(decoder) if event.new is not None]


def tokens(count: int, seed: int = 5) -> list[int]:
    return tiny.ids(1, count, seed=seed)[0].tolist()


SHAPED = [*tiny.every_shape(), *tiny.variants().items()]


@pytest.mark.parametrize("stack", [stack for _, stack in SHAPED], ids=[name for name, _ in SHAPED])
def test_every_shape_has_a_plan_that_computes_what_it_computes(stack: StackConfig) -> None:
    model, ids = tiny.model(tiny.config(decoder=stack)), tokens(9)
    planned, plain = Session(model), Session(model, attend=None)
    for session in (planned, plain):
        session.extend(ids[:3])
    tiny.assert_close(feed(planned, ids[3:]), feed(plain, ids[3:]))
    has_experts = stack.feedforward.experts is not None
    assert (planned.planner is not None and planned.planner.reason is None) != has_experts
    assert (PLANS.get(model) is None) == has_experts


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("is_native", [True, False])
def test_texts_are_the_same(config: ModelConfig, is_native: bool, replays: list[int]) -> None:
    model, prompt = made(config, is_native=is_native), tokens(3)
    text = written(Session(model), prompt, 30)
    assert len(replays) == 29, "all but the prompt"
    assert text == written(Session(model, is_planned=False), prompt, 30)
    assert text == written(Session(model, attend=None), prompt, 30)
    assert len(replays) == 29
    assert len(set(text)) > 3, "texts that do not vary prove nothing"


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("name", ["gated, grouped, rotary", "parallel, partly rotary", "learned positions, tied"])
def test_weights_in_fewer_bits_have_plans(bits: int, name: str, replays: list[int]) -> None:
    """Inputs are rounded behind norms that differ in their last place: now and then a code may fall on the other side."""
    model, ids = tiny.model(SHAPES[name], seed=4), tokens(8)
    prepare(model, bits)
    found, wanted = feed(Session(model), ids), readable(model, ids)
    assert len(replays) == len(ids)
    assert (found - wanted).abs().max() <= (1e-5 if bits == 16 else 1e-2) * wanted.abs().max()
    assert wanted.std(dim=-1).min() > 1e-2, "logits that do not vary prove nothing"


def test_the_bundled_model_writes_the_same_text(replays: list[int]) -> None:
    lm = cutaway.load("stories")
    pieces = lm.stream("Once upon a time", max_tokens=60, session=Session(lm.model, is_planned=False))
    plain = "".join(piece.text for piece in pieces)
    assert not replays
    assert lm.generate("Once upon a time", max_tokens=60) == plain
    assert len(replays) >= 50


def test_a_generation_gives_its_bits_again_whoever_recorded() -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(6)
    first = feed(Session(model), ids)
    assert torch.equal(first, feed(Session(model), ids)), "with the plan there beforehand"
    PLANS.pop(model)
    again = Session(model)
    again.extend(ids[:1], "none")
    assert torch.equal(torch.cat([first[:1], feed(again, ids[1:])]), first)


def test_a_store_that_grows_moves_its_memory(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(150)
    tiny.assert_close(feed(Session(model), ids), readable(model, ids))
    assert len(replays) == 150


def test_rewind_peek_and_keep() -> None:
    model, ids = made(SHAPES["sandwich, windows, caps"]), tokens(12)
    whole, session = feed(Session(model), ids), Session(model)
    feed(session, ids[:6])
    feed(session, [7, 8, 9])
    session.rewind(6)
    assert torch.equal(session.peek([ids[6]]), whole[6:7])
    assert session.ids == ids[:6]
    assert session.extend([ids[6]], "none").shape == (0, tiny.VOCAB)
    assert torch.equal(feed(session, ids[7:]), whole[7:])
    session.rewind(0)
    assert torch.equal(feed(session, ids), whole)


def test_forks_and_sessions_in_turn_do_not_know_each_other() -> None:
    model, (one, other) = made(SHAPES["slopes"]), (tokens(14), tokens(14, seed=6))
    expected = [feed(Session(model), one[:7] + end) for end in (one[7:], other[7:])] + [feed(Session(model), other)]
    session, third = Session(model), Session(model)
    feed(session, one[:7])
    twin, found = session.fork(), list[Tensor]()
    feed(third, other[:7])
    for a, b in zip(one[7:], other[7:], strict=True):
        found += [session.extend([a]), twin.extend([b]), third.extend([b])]
    for index, whole in enumerate(expected):
        assert torch.equal(torch.cat(found[index::3]), whole[7:])


def test_threads_share_a_plan() -> None:
    model = made(SHAPES["gated, grouped, rotary"])
    texts = [tokens(40, seed=seed) for seed in range(6)]
    expected = [feed(Session(model), text) for text in texts]
    with ThreadPoolExecutor(6) as pool:
        for found, whole in zip(pool.map(lambda text: feed(Session(model), text), texts), expected, strict=True):
            assert torch.equal(found, whole)


def test_another_number_of_threads_gives_the_same_bits(replays: list[int]) -> None:
    model, ids, before = made(SHAPES["gated, grouped, rotary"]), tokens(6), torch.get_num_threads()
    try:
        found = []
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            found.append(feed(Session(model), ids))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(replays) == 18


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


def a_hook(model: Transformer) -> None:
    model.main.layers[0].register_forward_hook(lambda *given: given[-1] * 2)


CHANGES = (changed_in_place, moved, replaced, a_bias_put_on, another_layer, another_knob, a_hook)


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
    placed.extend(ids[:3], tokens=cutaway.model.visibility.full(3))
    placed.extend([5])
    assert not replays, "not a causal text from its start"


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
    monkeypatch.setattr("cutaway.runtime.plans.recorder.library", lambda: "they were not built")
    model, ids = made(SHAPES["slopes"]), tokens(4)
    session = Session(model)
    assert torch.equal(feed(session, ids), readable(model, ids))
    assert session.planner is not None
    assert "not built" in str(session.planner.reason)


def test_a_model_without_users_is_freed_with_its_plan() -> None:
    model = made(SHAPES["slopes"])
    Session(model).extend([3])
    Session(model).extend([3])
    count = len(PLANS)
    del model
    gc.collect()
    assert len(PLANS) < count
