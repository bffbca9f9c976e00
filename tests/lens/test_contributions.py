"""Contributions: the parts add up to the logit for every kind of model, and each is what it is by a second computation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, NormConfig, StackConfig
from cutaway.errors import CutawayError
from cutaway.lens.contributions import Contributions, contribution_sites, contributions
from cutaway.lens.pair import trace_pair
from cutaway.lens.trace import Trace
from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import LowRank, put_adapter
from cutaway.model.attention import Attention
from cutaway.model.block import Pre
from tests import tiny

LENGTH = 7
RMS = NormConfig(kind="rms", offset=0.5)
ODD = {  # what stands before the layers, or behind them
    "tied": {"is_tied": True},
    "head bias": {"head_bias": True},
    "logit scale and cap": {"logit_scale": 0.4, "logit_softcap": 3.0},
    "head transform": {"head_transform": "gelu", "head_bias": True},
    "embedding scale": {"embedding_scale": 3.0},
}


def shapes() -> dict[str, StackConfig]:
    """Every placement under both norms, and one stack for each further knob."""
    found = {
        f"{placement} {norm.kind}": tiny.stack(
            placement=placement, norm=norm, attention=AttentionConfig(num_heads=4, num_kv_heads=2)
        )
        for placement in tiny.PLACEMENTS
        for norm in (NormConfig(), RMS)
    }
    shared = tiny.stack(num_layers=5, num_shared=2, placement="post", has_embedding_norm=True)
    return {**found, **tiny.variants(), "shared post": shared}


def traced(model: Transformer, *, types: bool = False) -> Trace:
    ids = tiny.ids(2, LENGTH)
    sites = contribution_sites(model)
    recorder = tiny.recorder(model, 2, LENGTH, sites)  # type: ignore[arg-type]
    kinds = (ids % 3) if types else None
    model(ids, Call(visibility.causal(LENGTH), watch=recorder, types=kinds))
    return recorder.trace(ids)


def assert_adds_up(found: Contributions, bound: float) -> None:
    whole = found.total - (found.against_total or 0.0)
    assert abs(found.sum - whole) <= bound
    assert len({part.value for part in found.parts}) > 5, "parts that are all alike prove nothing"


@pytest.mark.parametrize(("name", "stack"), shapes().items(), ids=shapes().keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_the_parts_add_up_to_the_logit(name: str, stack: StackConfig, dtype: torch.dtype) -> None:
    model = tiny.model(tiny.config(decoder=stack), dtype=dtype)
    trace = traced(model, types=name == "token types")
    for row, position, token, against in ((0, LENGTH - 1, 3, None), (1, 2, 7, 11)):
        found = contributions(model, trace, position, token, against, row=row)
        assert_adds_up(found, 1e-4 if dtype == torch.float32 else 1e-10)
        kinds = [part.kind for part in found.parts]
        assert kinds.count("head") == stack.num_layers * 4
        assert kinds.count("feedforward") == stack.num_layers
        assert kinds.count("position") == stack.position.is_table
        assert kinds.count("type") == (stack.num_token_types > 0)


@pytest.mark.parametrize("knobs", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("placement", ["pre", "post"])
def test_the_parts_add_up_whatever_the_ends(knobs: dict[str, Any], placement: str) -> None:
    stack = tiny.stack(placement=placement, has_final_norm=placement == "pre")
    model = tiny.model(tiny.config(decoder=stack, **knobs))
    found = contributions(model, traced(model), 4, 9)
    assert_adds_up(found, 1e-4)
    assert_adds_up(contributions(model, traced(model), 4, 9, 10), 1e-4)


@pytest.mark.parametrize("placement", ["pre", "post", "sandwich", "inner"])
def test_an_encoder_decoder_has_heads_of_both_kinds(placement: str) -> None:
    stack = tiny.stack(placement=placement)
    model = tiny.model(tiny.config(encoder=stack, decoder=stack))
    trace = trace_pair(model, [3, 1, 4, 1, 5], [9, 2, 6], contribution_sites(model))
    found = contributions(model, trace, 2, 8, 4)
    assert_adds_up(found, 1e-4)
    assert [part.kind for part in found.parts].count("cross") == 8
    assert {part.stack for part in found.parts} == {"decoder"}


def test_an_encoder_has_contributions_too() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(placement="post"), decoder=None, head_bias=True))
    found = contributions(model, traced(model), 3, 5)
    assert_adds_up(found, 1e-4)
    assert {part.stack for part in found.parts} == {"encoder"}


@pytest.mark.parametrize("placement", tiny.PLACEMENTS)
def test_each_part_is_the_gradient_of_the_frozen_pass(placement: str) -> None:
    """Second computation: with every norm's length held, the logit is linear in what a part writes; autograd says how."""
    stack = tiny.stack(placement=placement, norm=RMS)
    model = tiny.model(tiny.config(decoder=stack), dtype=torch.float64)
    trace = traced(model)
    found = contributions(model, trace, 5, 3)
    for part in found.parts:
        if part.kind == "head":
            assert part.layer is not None
            assert part.head is not None
            without = _frozen(model, trace, 5, 3, {f"layers.{part.layer}.attention": part.head})
            assert abs(_frozen(model, trace, 5, 3, {}) - without - part.value) < 1e-9
        if part.kind == "feedforward":
            without = _frozen(model, trace, 5, 3, {f"layers.{part.layer}.feedforward": 0})
            assert abs(_frozen(model, trace, 5, 3, {}) - without - part.value) < 1e-9


def _frozen(model: Transformer, trace: Trace, position: int, token: int, off: dict[str, int]) -> float:
    """The logit of a pass in which sublayers write what they wrote, norms divide by what they divided by, and one is off."""
    stack, x = model.main, trace["embedding.sum"][0, position]
    for layer in range(stack.config.num_layers):
        for name in ("attention", "feedforward"):
            site, wrapper = f"layers.{layer}.{name}", getattr(stack.layers[layer], name)
            write = trace[f"{site}.output"][0, position] if f"{site}.output" in trace else torch.zeros_like(x)
            is_post, enters = stack.config.placement == "post", "start" if name == "attention" else "middle"
            held = trace[f"layers.{layer}.residual.{enters}"][0, position] + write if is_post else x
            if name == "attention":
                write = _attended(wrapper, trace[f"{site}.mixed"][0, :, position], off.get(site))
            elif site in off:
                write = torch.zeros_like(write)
            x = x + write
            x = _held(wrapper.norm, x, held) if is_post else x
    last = trace[f"layers.{stack.config.num_layers - 1}.residual.end"][0, position]
    assert model.head is not None
    return float(_held(stack.norm, x, last) @ model.head.projection.weight[token])


def _attended(wrapper: Any, mixed: torch.Tensor, head_off: int | None) -> torch.Tensor:
    """What attention writes with a head off, behind a norm that divides by what it divided by with the head on."""
    attention = wrapper if isinstance(wrapper, Attention) else wrapper.sublayer
    kept = mixed.clone()
    if head_off is not None:
        kept[head_off] = 0
    whole, part = (attention.output(x.flatten()[None, None], None)[0, 0] for x in (mixed, kept))
    return _held(wrapper.after, part, whole) if isinstance(wrapper, Pre) else part


def _held(norm: Any, x: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    if isinstance(norm, torch.nn.Identity):
        return x
    return x * (norm.weight + norm.offset) / (held.square().mean() + norm.eps).sqrt()


def test_an_adapter_is_part_of_its_matrix() -> None:
    model = tiny.model(tiny.config())
    for path in ("decoder.layers.0.attention.sublayer.output", "head.projection"):
        adapter = put_adapter(model, path, LowRank(rank=2, alpha=4.0))
        adapter.down.data.normal_(generator=torch.Generator().manual_seed(1))
        adapter.up.data.normal_(generator=torch.Generator().manual_seed(2))
    model.requires_grad_(False)
    assert_adds_up(contributions(model, traced(model), 3, 5), 1e-4)


def test_what_does_not_exist_is_refused() -> None:
    model = tiny.model(tiny.config())
    trace = traced(model)
    with pytest.raises(CutawayError, match=r"position is 7\. The trace has 7"):
        contributions(model, trace, 7, 0)
    with pytest.raises(CutawayError, match=r"row is 2"):
        contributions(model, trace, 0, 0, row=2)
    with pytest.raises(CutawayError, match=r"token_id is 31\. Ids run from 0 to 30"):
        contributions(model, trace, 0, 31)
    with pytest.raises(CutawayError, match=r"against is -1"):
        contributions(model, trace, 0, 0, -1)
    with pytest.raises(CutawayError, match=r"does not hold"):
        contributions(model, Trace({}, trace.ids), 0, 0)
    bare = Transformer(ModelConfig(vocab_size=31, context=8, encoder=tiny.stack(), has_head=False))
    with pytest.raises(CutawayError, match="has no head"):
        contributions(bare, trace, 0, 0)


def test_parts_have_names_and_stand_in_the_order_of_the_way() -> None:
    stack = tiny.stack(attention=AttentionConfig(num_heads=2), feedforward=FeedForwardConfig(d_hidden=8))
    model = tiny.model(tiny.config(decoder=stack))
    found = contributions(model, traced(model), 3, 5)
    assert [part.name for part in found.parts] == [
        "token",
        "position",
        *(f"layer {layer} {name}" for layer in (0, 1) for name in ("head 0", "head 1", "feed-forward", "bias")),
        "biases of the ends",
    ]
