"""Static stores, merged projections and replayed steps are the readable model; what needs a GPU is skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

from cutaway.config import AttentionConfig, FeedForwardConfig, LayerType, PositionConfig, StackConfig
from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.decode.static import static_session
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.attend import fused
from cutaway.runtime.gpu import Graphed, StaticStore, check_device_memory, merge_projections, needed_bytes, room
from cutaway.runtime.gpu.merged import Part
from cutaway.runtime.stores import KVStore
from tests import tiny
from tests.compiling import Counting
from tests.gpus import needs_gpu

GATED = FeedForwardConfig(d_hidden=24, activation="silu", is_gated=True, bias=False)
LLAMA_LIKE = tiny.stack(
    num_layers=5,
    position=PositionConfig(kind="rotary"),
    attention=AttentionConfig(num_heads=4, num_kv_heads=2, bias=False, output_bias=False),
    feedforward=GATED,
)


@pytest.fixture
def counting() -> Iterator[Counting]:
    torch._dynamo.reset()
    yield Counting()
    torch._dynamo.reset()


def variants() -> dict[str, StackConfig]:
    """Every kind of stack, and what changes attention."""
    windowed = {"layer_types": {"near": LayerType(window=3), "full": LayerType()}, "pattern": ("near", "full")}
    more = {
        "grouped": LLAMA_LIKE,
        "softcap": tiny.stack(attention=AttentionConfig(num_heads=4, num_kv_heads=2, softcap=2.0)),
        "window": tiny.stack(position=PositionConfig(kind="rotary"), **windowed),
        "sinks": tiny.stack(attention=AttentionConfig(num_heads=4, sinks=2), **windowed),
    }
    return {**tiny.variants(), **more}


VARIANTS = variants()


def is_mixture(stack: StackConfig) -> bool:
    return stack.feedforward.experts is not None


def said(session: Session, ids: list[int], count: int) -> list[int | None]:
    """Greedy tokens."""
    decoder = autoregressive(session, ids, Sampling(temperature=0), max_tokens=count, eos_ids=())
    return [event.new for event in run(decoder)]


@pytest.mark.parametrize("stack", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_static_session_is_a_session(stack: StackConfig) -> None:
    """Prompts, steps, rewinds and peeks, in turn, give the logits of the growing store."""
    model = tiny.model(tiny.config(decoder=stack))
    one, other = Session(model), static_session(model, capacity=20, backend=None)
    for ids in ([3, 1, 4], [1], [5], [9, 2]):
        tiny.assert_close(other.extend(ids, "all"), one.extend(ids, "all"))
    tiny.assert_close(other.peek([7, 8]), one.peek([7, 8]))
    for session in (one, other):
        session.rewind(4)
    for ids in ([2], [6], [5, 3], [5]):
        tiny.assert_close(other.extend(ids), one.extend(ids))
    assert one.ids == other.ids
    assert isinstance(other.model, Graphed)
    assert other.model.num_steps == (0 if is_mixture(stack) else 5), "single tokens are steps"
    assert other.store.num_bytes == one.store.num_bytes


def test_the_same_text_is_written() -> None:
    model = tiny.lively(LLAMA_LIKE)
    wanted = said(Session(model), [3, 1], 25)
    assert len(set(wanted)) > 5, "tokens that do not vary prove nothing"
    merge_projections(model)
    session = static_session(model, capacity=32, backend=None)
    assert said(session, [3, 1], 25) == wanted
    assert isinstance(session.model, Graphed)
    assert session.model.num_steps == 24


def test_what_a_step_hides_stays_hidden() -> None:
    """Slots beyond the length hold what was forgotten, or anything: no bit of the logits depends on it."""
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    found = []
    for seed in (1, 2):
        session = static_session(model, capacity=12, backend=None)
        session.extend([3, 1, 4])
        generator = torch.Generator().manual_seed(seed)
        for each in (*session.store.keys, *session.store.values):  # type: ignore[attr-defined]
            each[:, :, 3:] = torch.randn(each[:, :, 3:].shape, generator=generator)
        found.append(session.extend([5]))
    assert torch.equal(*found)


@pytest.mark.parametrize("stack", [each for each in VARIANTS.values() if not is_mixture(each)])
def test_a_step_asks_for_no_number_and_lies_on_one_device(stack: StackConfig) -> None:
    """Or it could not be captured: tensors without numbers end every such question, and meet none that lie elsewhere."""
    model = tiny.model(tiny.config(decoder=stack)).to("meta")
    graphed = Graphed(model, StaticStore(stack, capacity=8, device=torch.device("meta")), backend=None)
    with torch.inference_mode():
        graphed._pass()
    assert graphed._logits.shape == (1, 1, model.config.vocab_size)


def test_a_store_that_is_full_says_so_and_stays() -> None:
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    session = static_session(model, capacity=4, backend=None)
    session.extend([1, 2, 3])
    before = session.store.fields.clone()
    with pytest.raises(CutawayError, match=r"holds 4 tokens, 3 of them taken: 2 more do not fit"):
        session.extend([4, 5])
    assert (session.length, session.ids) == (3, [1, 2, 3])
    assert torch.equal(session.store.fields, before)
    session.extend([4])
    with pytest.raises(CutawayError, match="1 more do not fit"):
        session.extend([5])
    assert session.ids == [1, 2, 3, 4]
    for length in (-1, 5):
        with pytest.raises(CutawayError, match="Allowed: 0 to 4"):
            session.rewind(length)


@pytest.mark.parametrize(("capacity", "stack"), [(0, "decoder"), (8, "both"), (8, "encoder")])
def test_what_has_no_static_session(capacity: int, stack: str) -> None:
    stacks = {name: tiny.stack() for name in ("encoder", "decoder") if stack in (name, "both")}
    with pytest.raises(CutawayError, match="at least 1 token" if capacity == 0 else "a decoder alone"):
        static_session(tiny.model(tiny.config(**stacks)), capacity=capacity)


def test_a_fork_goes_its_own_way() -> None:
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    one, other = Session(model), static_session(model, capacity=16, backend=None)
    for session in (one, other):
        session.extend([3, 1, 4])
    twins = one.fork(), other.fork()
    for first, second in (twins, (one, other)):
        for ids in ([7], [8]):
            tiny.assert_close(second.extend(ids), first.extend(ids))
    assert isinstance(other.model, Graphed)
    assert other.model.num_steps == 2, "those of the fork ran as the model itself"


def test_whoever_watches_sees_the_readable_pass() -> None:
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    one, other = Session(model), static_session(model, capacity=16, backend=None)
    for session in (one, other):
        session.extend([3, 1, 4])
        session.watch = tiny.recorder(model, 1, 1, "layers.*.attention.weights", past=3)
    tiny.assert_close(other.extend([5]), one.extend([5]))
    assert one.watch is not None
    kept, found = one.watch.tensors, other.watch.tensors  # type: ignore[union-attr]
    assert list(kept) == list(found) != []
    for name, tensor in kept.items():
        tiny.assert_close(found[name], tensor)
    assert isinstance(other.model, Graphed)
    assert other.model.num_steps == 0


@pytest.mark.parametrize("bias", [False, True])
def test_merged_projections_are_the_same_model(bias: bool) -> None:
    attention = AttentionConfig(num_heads=4, num_kv_heads=2, bias=bias, output_bias=bias)
    stack = replace(LLAMA_LIKE, attention=attention, feedforward=replace(GATED, bias=bias))
    plain, fast = (tiny.model(tiny.config(decoder=stack)) for _ in range(2))
    assert merge_projections(fast) == 2 * stack.num_layers
    assert merge_projections(fast) == 0, "once"
    for (name, one), (other_name, other) in zip(plain.state_dict().items(), fast.state_dict().items(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)
    ids, call = tiny.ids(2, 7), Call(visibility.causal(7), attend=fused)
    with torch.inference_mode():
        tiny.assert_close(fast(ids, call), plain(ids, call))


def test_merged_weights_lie_in_one_matrix_and_nothing_is_held() -> None:
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    merge_projections(model)
    parts = [module for module in model.modules() if isinstance(module, Part)]
    assert len(parts) == 5 * (3 + 2)
    for part in parts:
        assert part.weight.untyped_storage().data_ptr() == part.joint.weight.untyped_storage().data_ptr()
    with torch.inference_mode():
        model(tiny.ids(1, 3), Call(visibility.causal(3), attend=fused))
    assert all(part.joint.x is None and part.joint.made == () for part in parts)
    weight = parts[0].weight
    with torch.inference_mode():
        x = torch.ones(1, 1, 16)
        tiny.assert_close(parts[1](x, None), x @ parts[1].weight.T), "asked by itself, it computes for itself"
        parts[0](x, None)
        other = torch.full_like(x, 2.0)
        tiny.assert_close(parts[1](other, None), other @ parts[1].weight.T)
    weight.requires_grad_()
    with torch.enable_grad():
        parts[0](torch.ones(1, 1, 16), None).sum().backward()  # type: ignore[arg-type]
    assert weight.grad is not None
    assert float(weight.grad.abs().min()) == 1.0


def test_layers_that_look_at_a_memory_are_left_alone() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack()))
    assert merge_projections(model) == 4, "self-attention of both; what looks at a memory fills it by itself"


@pytest.mark.parametrize(
    "stack", [LLAMA_LIKE, tiny.stack(num_layers=4, placement="parallel")], ids=["gated", "parallel"]
)
def test_one_compiled_graph_serves_all_layers_and_all_steps(stack: StackConfig, counting: Counting) -> None:
    model = tiny.model(tiny.config(decoder=stack))
    one = Session(model)
    wanted = [one.extend(ids) for ids in ([3, 1, 4], [1], [5], [9])]
    merge_projections(model)
    other = static_session(model, capacity=16, backend=counting)
    found = [other.extend(ids) for ids in ([3, 1, 4], [1], [5], [9])]
    for first, second in zip(wanted, found, strict=True):
        tiny.assert_close(second, first)
    assert counting.num_graphs == 1
    assert isinstance(other.model, Graphed)
    assert other.model.main is model.main, "what is not a step runs as it is written"


def test_what_compilers_make_of_a_step_is_the_step() -> None:
    """Through the tracing of in-place writes, which a backend that runs the graph as it is leaves out."""
    torch._dynamo.reset()
    model = tiny.lively(LLAMA_LIKE)
    wanted = said(Session(model), [3, 1], 12)
    merge_projections(model)
    assert said(static_session(model, capacity=16, backend=aot_eager), [3, 1], 12) == wanted
    torch._dynamo.reset()


def test_rows_move_in_step() -> None:
    """A batch over one store: each row as by itself."""
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    rows = tiny.ids(3, 6)
    alone = [Session(model) for _ in rows]
    store = StaticStore(LLAMA_LIKE, batch=3, capacity=8)
    graphed = Graphed(model, store, backend=None)
    with torch.inference_mode():
        graphed(rows[:, :4], Call(visibility.causal(4), attend=fused, store=store))
        for place in (4, 5):
            found = graphed(rows[:, place : place + 1], Call(visibility.causal(1, place), attend=fused, store=store))
    for row, session, logits in zip(rows.tolist(), alone, found, strict=True):
        session.extend(row[:5])
        tiny.assert_close(logits, session.extend(row[5:]))
    assert graphed.num_steps == 2


def test_a_step_that_learns_is_the_models_own() -> None:
    model = tiny.model(tiny.config(decoder=LLAMA_LIKE))
    store = StaticStore(LLAMA_LIKE, capacity=8)
    graphed = Graphed(model, store, backend=None)
    logits: Tensor = graphed(tiny.ids(1, 1), Call(visibility.causal(1), attend=fused, store=store))
    assert graphed.num_steps == 0
    assert not logits.is_inference()


def test_memory_is_asked_for_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.config(decoder=LLAMA_LIKE)
    needed = needed_bytes(config, batch=4, capacity=100)
    kept = 4 * KVStore(LLAMA_LIKE, capacity=100, dtype=torch.bfloat16).values.nbytes
    weights = sum(2 * each.numel() for each in Transformer(config).parameters())
    assert needed == weights + kept + room.SPARE
    monkeypatch.setattr(room, "bytes_left", lambda _: 10**9)
    with pytest.raises(
        CutawayError, match=r"2,000,000,000 bytes \(2\.0 GB\), and 1,000,000,000 \(1\.0 GB\) are available"
    ):
        check_device_memory(2e9, torch.device("cpu"))
    check_device_memory(1e9, torch.device("cpu"))
    monkeypatch.setattr(room, "bytes_left", lambda _: None)
    check_device_memory(1e30, torch.device("cpu"))


@needs_gpu
@pytest.mark.parametrize("backend", [None, "inductor"])
def test_captured_steps_write_the_same_text(backend: Any) -> None:
    model = tiny.lively(LLAMA_LIKE).to("cuda")
    wanted = said(Session(model), [3, 1], 25)
    assert len(set(wanted)) > 5
    merge_projections(model)
    session = static_session(model, capacity=32, backend=backend)
    assert said(session, [3, 1], 25) == wanted
    session.rewind(0)
    assert said(session, [3, 1], 25) == wanted


@needs_gpu
def test_a_gpu_without_the_memory_is_said_before_it_starts() -> None:
    with pytest.raises(CutawayError, match="are available"):
        check_device_memory(1e15, torch.device("cuda"))
