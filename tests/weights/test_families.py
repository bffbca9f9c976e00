"""Which family holds a config, why another does not, and that every config comes back from its config.json as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    StackConfig,
    TokenIds,
)
from cutaway.weights.families import FAMILIES, explain_misfit, family_of, find_family
from cutaway.weights.layout import FUSED, ROW, TRANSPOSED, join, split, stored_shape
from cutaway.weights.names import Rule, affine, expand
from tests import tiny

attention: Callable[..., AttentionConfig] = lambda **k: AttentionConfig(num_heads=4, **k)  # noqa: E731
network: Callable[..., FeedForwardConfig] = lambda **k: FeedForwardConfig(d_hidden=24, **k)  # noqa: E731


def through_json(config: ModelConfig) -> ModelConfig:
    """The config after its config.json was written and read."""
    family = family_of(config)
    data = json.loads(json.dumps(family.to_json(config)))
    assert find_family(data["model_type"], "config.json") is family
    return family.from_json(data, "config.json")


MASKED = tiny.stack(
    placement="post",
    position=PositionConfig(kind="learned"),
    has_embedding_norm=True,
    has_final_norm=False,
    feedforward=network(activation="gelu"),
    num_token_types=2,
)
FITS: dict[str, ModelConfig] = {
    "ours": tiny.config(is_tied=True, tokens=TokenIds(bos=0, eos=0, pad=1, mask=2)),
    "learned": tiny.config(decoder=tiny.stack(position=PositionConfig(kind="learned"))),
    "scaled": tiny.config(decoder=tiny.stack(position=PositionConfig(scale=0.02, base=500.0))),
    "said twice": tiny.config(decoder=tiny.stack(attention=attention(num_kv_heads=4, d_head=4, scale=0.5))),
    "unscaled": tiny.config(decoder=tiny.stack(attention=attention(scale=1.0))),
    "a head of width one": tiny.config(decoder=tiny.stack(d_model=4, attention=attention(scale=1.0))),
    "relu": tiny.config(decoder=tiny.stack(feedforward=network(activation="relu_squared"), norm=NormConfig(eps=1e-3))),
}


@pytest.mark.parametrize("name", FITS)
def test_gpt2_holds(name: str) -> None:
    config = FITS[name]
    assert family_of(config).model_type == "gpt2"
    assert explain_misfit(config) is None
    assert through_json(config) == config


MISFITS: list[tuple[str, ModelConfig]] = [
    ("decoder.placement", tiny.config(encoder=tiny.stack(), decoder=tiny.stack())),
    ("encoder.placement", tiny.config(encoder=tiny.stack())),
    ("is_tied", tiny.config(encoder=MASKED, head_bias=True, head_transform="gelu")),
    ("head_bias", tiny.config(head_bias=True)),
    ("has_head", tiny.config(has_head=False)),
    ("embedding_scale", tiny.config(embedding_scale=2.0)),
    ("logit_scale", tiny.config(logit_scale=2.0)),
    ("logit_softcap", tiny.config(logit_softcap=30.0)),
    ("decoder.placement", tiny.config(decoder=tiny.stack(placement="post"))),
    ("decoder.num_shared", tiny.config(decoder=tiny.stack(num_shared=1))),
    ("decoder.has_final_norm", tiny.config(decoder=tiny.stack(has_final_norm=False))),
    ("decoder.has_embedding_norm", tiny.config(decoder=tiny.stack(has_embedding_norm=True))),
    ("decoder.norm.kind", tiny.config(decoder=tiny.stack(norm=NormConfig(kind="rms")))),
    ("decoder.norm.bias", tiny.config(decoder=tiny.stack(norm=NormConfig(bias=False)))),
    ("decoder.position.offset", tiny.config(decoder=tiny.stack(position=PositionConfig(offset=2)))),
    *(
        ("decoder.position.kind", tiny.config(decoder=tiny.stack(position=PositionConfig(kind=kind))))
        for kind in ("none", "relative", "alibi")
    ),
    ("decoder.attention.bias", tiny.config(decoder=tiny.stack(attention=attention(bias=False)))),
    ("decoder.attention.num_kv_heads", tiny.config(decoder=tiny.stack(attention=attention(num_kv_heads=2)))),
    ("decoder.attention.d_head", tiny.config(decoder=tiny.stack(attention=attention(d_head=6)))),
    ("decoder.attention.scale", tiny.config(decoder=tiny.stack(attention=attention(scale=0.7)))),
    ("decoder.attention.sinks", tiny.config(decoder=tiny.stack(attention=attention(sinks=1)))),
    ("decoder.feedforward.is_gated", tiny.config(decoder=tiny.stack(feedforward=network(is_gated=True)))),
    ("decoder.layer_types.full.window", tiny.config(decoder=tiny.stack(layer_types={"full": LayerType(window=4)}))),
    ("d_model", tiny.config(decoder=tiny.stack(d_model=10, attention=attention(d_head=6)))),
]


@pytest.mark.parametrize(
    ("knob", "config"), MISFITS, ids=[f"{knob}-{index}" for index, (knob, _) in enumerate(MISFITS)]
)
def test_a_misfit_is_named_and_held_by_our_own_form(knob: str, config: ModelConfig) -> None:
    assert family_of(config).model_type == "cutaway"
    reason = explain_misfit(config)
    assert reason is not None
    assert knob in reason
    assert "in the " in reason or "the GPT-2 family cannot say it" in reason
    assert through_json(config) == config


@pytest.mark.parametrize("stack", tiny.variants().values(), ids=tiny.variants())
def test_every_config_comes_back(stack: StackConfig) -> None:
    for config in (tiny.config(decoder=stack), tiny.config(encoder=stack, tokens=TokenIds(pad=3, decoder_start=1))):
        assert through_json(config) == config


def test_the_last_family_holds_all_and_names_are_unique() -> None:
    assert FAMILIES[-1].model_type == "cutaway"
    assert len({family.model_type for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize(
    ("config", "title"),
    [
        (tiny.config(encoder=MASKED, head_bias=True, head_transform="gelu"), "BERT"),
        (tiny.config(encoder=tiny.stack(placement="post"), decoder=tiny.stack(placement="post")), "Marian"),
        (tiny.config(head_bias=True), "GPT-2"),
    ],
    ids=["encoder", "both", "decoder"],
)
def test_the_nearest_family_has_the_same_stacks(config: ModelConfig, title: str) -> None:
    assert f"in the {title} family" in str(explain_misfit(config))


def test_a_head_bias_and_a_mask_id_do_not_hide_each_other() -> None:
    config = replace(FITS["ours"], head_bias=True)
    assert "head_bias is True; in the GPT-2 family it is False" in str(explain_misfit(config))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 5), st.booleans())
def test_layouts_are_undone_exactly(rows: list[int], width: int, is_matrix: bool) -> None:
    ours = [torch.randn(count, width) if is_matrix else torch.randn(count) for count in rows]
    shapes = [tuple(tensor.shape) for tensor in ours]
    stored = join((FUSED, TRANSPOSED), ours)
    assert tuple(stored.shape) == stored_shape((FUSED, TRANSPOSED), shapes)
    assert tuple(stored.shape) == ((width, sum(rows)) if is_matrix else (sum(rows),))
    for one, other in zip(split((FUSED, TRANSPOSED), stored, shapes), ours, strict=True):
        assert torch.equal(one, other)


def test_a_vector_is_a_table_of_one_row() -> None:
    ours = torch.randn(5)
    stored = join((ROW,), [ours])
    assert tuple(stored.shape) == stored_shape((ROW,), [(5,)]) == (1, 5)
    assert torch.equal(split((ROW,), stored, [(5,)])[0], ours)


def test_a_number_that_only_we_have_is_joined_in_order() -> None:
    """As a family needs that stacks its experts: twelve of ours lead to one name."""
    rules = [
        *affine("h.{layer}.ln", "layers.{layer}.norm"),
        Rule("h.{layer}.w", ("l.{layer}.{expert}.a", "l.{layer}.{expert}.b")),
    ]
    names = [f"l.{layer}.{expert}.{part}" for layer in (1, 0) for expert in (11, 2) for part in "ba"]
    mapped = {entry.theirs: entry.ours for entry in expand(rules, [*names, "layers.7.norm.bias"])}
    assert mapped == {
        "h.1.w": ("l.1.2.a", "l.1.2.b", "l.1.11.a", "l.1.11.b"),
        "h.0.w": ("l.0.2.a", "l.0.2.b", "l.0.11.a", "l.0.11.b"),
        "h.7.ln.bias": ("layers.7.norm.bias",),
    }


def test_a_hole_in_a_name_table_is_our_own_fault() -> None:
    with pytest.raises(AssertionError, match="no rule for y"):
        expand([Rule("a", ("x",))], ["x", "y"])
