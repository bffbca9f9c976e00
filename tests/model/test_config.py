"""The architecture's knobs: what is refused and how, and the round trip through JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.config import (
    AttentionConfig,
    ExpertsConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    RotaryScaling,
    StackConfig,
    TokenIds,
)
from cutaway.errors import CutawayError
from tests import tiny

REFUSALS: list[tuple[Callable[[], Any], list[str]]] = [
    (lambda: tiny.stack(num_layers=0), ["num_layers is 0", "above 0"]),
    (lambda: tiny.stack(d_model=-4), ["d_model is -4", "above 0"]),
    (lambda: tiny.stack(d_model=18), ["num_heads is 4", "d_model = 18", "1, 2, 3, 6, 9, 18", "d_head"]),
    (lambda: AttentionConfig(num_heads=0), ["num_heads is 0"]),
    (lambda: AttentionConfig(num_heads=4, num_kv_heads=0), ["num_kv_heads is 0"]),
    (lambda: AttentionConfig(num_heads=4, d_head=0), ["d_head is 0"]),
    (lambda: AttentionConfig(num_heads=6, num_kv_heads=4), ["num_heads is 6", "num_kv_heads is 4", "1, 2, 3, 6"]),
    (lambda: AttentionConfig(num_heads=4, softcap=0.0), ["softcap is 0.0"]),
    (lambda: AttentionConfig(num_heads=4, sinks=-1), ["sinks is -1"]),
    (lambda: NormConfig(eps=0.0), ["norm.eps is 0.0"]),
    (lambda: FeedForwardConfig(d_hidden=0), ["d_hidden is 0"]),
    (lambda: FeedForwardConfig(d_hidden=8, clamp=-1.0), ["clamp is -1.0"]),
    (lambda: ExpertsConfig(num_experts=4, num_active=5), ["num_active is 5", "1 to num_experts, 4"]),
    (lambda: ExpertsConfig(num_experts=4, num_active=0), ["num_active is 0"]),
    (lambda: LayerType(window=0), ["window is 0"]),
    (lambda: LayerType(position=PositionConfig(kind="learned")), ["'learned'", "none, rotary, relative, alibi"]),
    (lambda: PositionConfig(base=0.0), ["base is 0.0"]),
    (lambda: PositionConfig(fraction=0.0), ["fraction is 0.0"]),
    (lambda: PositionConfig(fraction=1.5), ["fraction is 1.5"]),
    (lambda: PositionConfig(offset=-1), ["offset is -1"]),
    (lambda: PositionConfig(kind="learned", halved=True), ["halved is true", "'learned'", "sinusoidal"]),
    (lambda: PositionConfig(kind="relative", num_buckets=2), ["num_buckets is 2", "at least 4"]),
    (lambda: PositionConfig(kind="relative", max_distance=16), ["max_distance is 16", "above 16"]),
    (lambda: RotaryScaling(kind="linear", factor=0.5), ["factor is 0.5", "at least 1.0"]),
    (lambda: RotaryScaling(kind="llama3", factor=2.0, low=4.0, high=4.0), ["low is 4.0", "high is 4.0"]),
    (lambda: RotaryScaling(kind="yarn", factor=2.0, original_context=0), ["original_context is 0"]),
    (lambda: tiny.stack(d_model=12, position=PositionConfig(kind="rotary")), ["pairs", "width 3", "even"]),
    (lambda: tiny.stack(position=PositionConfig(kind="rotary", fraction=0.25)), ["pairs", "width 4"]),
    (lambda: tiny.stack(d_model=15, attention=AttentionConfig(num_heads=3)), ["d_model is 15", "even width"]),
    (lambda: tiny.stack(pattern=()), ["pattern is empty"]),
    (lambda: tiny.stack(pattern=("ful",)), ["'ful'", "'full'"]),
    (lambda: tiny.stack(num_shared=3), ["num_shared is 3", "1 to num_layers, 2"]),
    (lambda: tiny.stack(num_token_types=-1), ["num_token_types is -1", "0 or more"]),
    (lambda: tiny.config(has_head=False, head_transform="gelu"), ["head_transform is 'gelu'", "has_head is false"]),
    (lambda: tiny.config(encoder=tiny.stack(), num_labels=2), ["num_labels is 2", "has_head is false"]),
    (lambda: tiny.config(encoder=tiny.stack(), has_head=False, num_labels=-1), ["num_labels is -1"]),
    (lambda: tiny.config(encoder=tiny.stack(), has_pooler=True), ["has_pooler is true", "has_head to false"]),
    (lambda: tiny.config(has_head=False, has_pooler=True), ["has_pooler is true", "a decoder"]),
    (lambda: tiny.config(vocab_size=0), ["vocab_size is 0"]),
    (lambda: tiny.config(context=0), ["context is 0"]),
    (lambda: ModelConfig(vocab_size=9, context=9), ["no stack", "[decoder]", "[encoder]"]),
    (lambda: tiny.config(tokens=TokenIds(eos=31)), ["tokens.eos is 31", "0 to 30"]),
    (lambda: tiny.config(tokens=TokenIds(pad=-1)), ["tokens.pad is -1"]),
    (lambda: tiny.config(encoder=tiny.stack(), decoder=tiny.stack(d_model=8)), ["d_model is 8", "is 16", "share"]),
    (
        lambda: tiny.config(encoder=tiny.stack(), decoder=tiny.stack(placement="parallel")),
        ["parallel", "encoder", "pre"],
    ),
]


@pytest.mark.parametrize(("make", "parts"), REFUSALS)
def test_impossible_knobs_are_refused(make: Callable[[], Any], parts: list[str]) -> None:
    with pytest.raises(CutawayError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_key_names_its_neighbour() -> None:
    data = tiny.config().to_dict()
    data["decoder"]["atention"] = data["decoder"].pop("attention")
    with pytest.raises(CutawayError, match=r"Unknown key 'decoder\.atention'\. Did you mean 'attention'\?"):
        ModelConfig.from_dict(data)


def test_a_choice_that_does_not_exist_names_its_neighbour() -> None:
    data = tiny.config().to_dict()
    data["decoder"]["placement"] = "sandwhich"
    with pytest.raises(CutawayError, match=r"sandwich"):
        ModelConfig.from_dict(data)


def test_configs_are_frozen_and_take_keywords_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.config().vocab_size = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        FeedForwardConfig(8)  # type: ignore[misc]


def test_main_is_the_decoder_where_there_is_one() -> None:
    encoder, decoder = tiny.stack(num_layers=1), tiny.stack(num_layers=3)
    both = tiny.config(encoder=encoder, decoder=decoder)
    assert (both.main, both.has_cross, list(both.stacks)) == (decoder, True, ["encoder", "decoder"])
    alone = tiny.config(encoder=encoder)
    assert (alone.main, alone.has_cross, list(alone.stacks)) == (encoder, False, ["encoder"])


def test_layer_types_follow_the_pattern() -> None:
    stack = tiny.stack(num_layers=5, layer_types=tiny.NEAR, pattern=("near", "near", "full"))
    assert [stack.kind(layer) for layer in range(5)] == ["near", "near", "full", "near", "near"]


def test_the_config_loads_no_torch() -> None:
    check = "import sys, cutaway.config, cutaway.cost; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


norms = st.builds(
    NormConfig,
    kind=st.sampled_from(["layer", "rms"]),
    eps=st.floats(1e-12, 1e-2),
    offset=st.sampled_from([0.0, 1.0]),
    bias=st.booleans(),
)
scalings = st.builds(
    RotaryScaling,
    kind=st.sampled_from(["linear", "llama3", "yarn"]),
    factor=st.floats(1, 64),
    original_context=st.integers(1, 9999),
    high=st.floats(2, 64),
    attention_factor=st.none() | st.floats(0.1, 2),
)
positions = st.builds(
    PositionConfig,
    kind=st.sampled_from(tiny.POSITIONS),
    offset=st.integers(0, 3),
    base=st.floats(2, 1e6),
    fraction=st.sampled_from([0.5, 1.0]),
    interleaved=st.booleans(),
    scaling=st.none() | scalings,
    bidirectional=st.booleans(),
)
types = st.builds(
    LayerType, window=st.none() | st.integers(1, 9), position=st.none() | positions.filter(lambda p: not p.is_table)
)
attentions = st.builds(
    AttentionConfig,
    num_heads=st.just(4),
    num_kv_heads=st.sampled_from([None, 1, 2, 4]),
    d_head=st.sampled_from([None, 4, 8]),
    bias=st.booleans(),
    query_key_norm=st.sampled_from(["none", "head", "full"]),
    scale=st.none() | st.floats(0.1, 1),
    softcap=st.none() | st.floats(1, 50),
    sinks=st.integers(0, 4),
)
experts = st.integers(1, 4).flatmap(
    lambda n: st.builds(ExpertsConfig, num_experts=st.just(n), num_active=st.integers(1, n), renormalise=st.booleans())
)
networks = st.builds(
    FeedForwardConfig,
    d_hidden=st.integers(1, 64),
    activation=st.sampled_from(["gelu", "gelu_tanh", "relu", "relu_squared", "silu"]),
    is_gated=st.booleans(),
    clamp=st.none() | st.floats(0.1, 9),
    experts=st.none() | experts,
)
stacks = st.builds(
    StackConfig,
    num_layers=st.integers(1, 6),
    d_model=st.just(16),
    attention=attentions,
    feedforward=networks,
    norm=norms,
    placement=st.sampled_from([p for p in tiny.PLACEMENTS if p != "parallel"]),
    position=positions,
    layer_types=st.fixed_dictionaries({"a": types, "b": types}),
    pattern=st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4).map(tuple),
    has_embedding_norm=st.booleans(),
    has_final_norm=st.booleans(),
    num_token_types=st.integers(0, 3),
)
models = st.builds(
    ModelConfig,
    vocab_size=st.integers(9, 99),
    context=st.integers(1, 99),
    encoder=st.none() | stacks,
    decoder=stacks,
    is_tied=st.booleans(),
    embedding_scale=st.floats(0.1, 10),
    logit_softcap=st.none() | st.floats(1, 50),
    head_transform=st.sampled_from([None, "gelu", "relu"]),
    tokens=st.builds(TokenIds, bos=st.none() | st.integers(0, 8), eos=st.none() | st.integers(0, 8)),
)


@given(models)
def test_the_dictionary_holds_the_whole_config(config: ModelConfig) -> None:
    """Through JSON and back, every knob survives."""
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
