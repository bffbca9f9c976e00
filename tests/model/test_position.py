"""Positions against the formulas of their papers in plain Python, and against the tables of `transformers`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from cutaway.config import PositionConfig, RotaryScaling
from cutaway.model import Call, visibility
from cutaway.model.embedding import PositionTable
from cutaway.model.position import (
    AlibiBias,
    Rotary,
    alibi_slopes,
    distance_bucket,
    rotary_frequencies,
    rotate,
    sinusoids,
)
from tests import tiny
from tests.reference.positions import sinusoid, turned


@given(st.integers(0, 200), st.sampled_from([2, 8, 30]))
def test_halved_sinusoids_are_the_same_numbers_in_another_order(position: int, width: int) -> None:
    row = sinusoids(position + 1, width, halved=True)[position]
    places = [*range(0, width, 2), *range(1, width, 2)]
    assert row.tolist() == pytest.approx([sinusoid(position, place, width) for place in places], abs=1e-7)


@given(st.integers(0, 200), st.sampled_from([2, 8, 30]))
def test_sinusoids_follow_the_formula(position: int, width: int) -> None:
    row = sinusoids(position + 1, width)[position]
    assert row.tolist() == pytest.approx([sinusoid(position, place, width) for place in range(width)], abs=1e-7)


def test_the_table_is_scaled_and_skips_its_offset() -> None:
    stack = tiny.stack(position=PositionConfig(kind="sinusoidal", offset=2, scale=0.5))
    table = PositionTable(tiny.config(decoder=stack, context=6), stack)
    assert torch.equal(table(torch.tensor([[0, 5]]))[0], 0.5 * sinusoids(8, 16)[[2, 7]])
    assert not list(table.parameters()), "the sinusoids are fixed"


def test_the_embedding_is_token_plus_position() -> None:
    """Both parts can be told apart, and their sum is what enters the first layer."""
    model = tiny.model(tiny.config(embedding_scale=4.0))
    ids, recorder = tiny.ids(2, 5), tiny.recorder(model, 2, 5)
    model(ids, Call(visibility.causal(5), watch=recorder))
    seen = recorder.tensors
    assert torch.equal(seen["embedding.token"], model.token.weight[ids] * 4.0)
    assert torch.equal(seen["embedding.position"], sinusoids(5, 16).expand(2, 5, 16))
    assert torch.equal(seen["embedding.sum"], seen["embedding.token"] + seen["embedding.position"])
    assert torch.equal(seen["layers.0.residual.start"], seen["embedding.sum"])


rotaries = st.builds(
    PositionConfig,
    kind=st.just("rotary"),
    base=st.sampled_from([100.0, 10_000.0, 500_000.0]),
    fraction=st.sampled_from([0.25, 0.5, 1.0]),
    interleaved=st.booleans(),
)


def turn(x: torch.Tensor, positions: list[int], config: PositionConfig) -> torch.Tensor:
    """x: [position, d_head] -> the same, turned in double precision."""
    rotary = Rotary(x.shape[-1], config).double()
    cos, sin = rotary(torch.tensor([positions]))
    return rotate(x[None, None], cos, sin, is_interleaved=config.interleaved)[0, 0]


@given(rotaries, st.lists(st.integers(0, 300), min_size=1, max_size=4), st.integers(0, 99))
def test_rotary_turns_pairs_as_complex_numbers(config: PositionConfig, positions: list[int], seed: int) -> None:
    """Halves and interleaved pairs, whole heads and a part of them (fp32 frequencies: hence 1e-4 at angles of 300)."""
    x = torch.randn(len(positions), 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    d_rotated = int(16 * config.fraction)
    for row, position, got in zip(x, positions, turn(x, positions, config), strict=True):
        want = turned(row.tolist(), position, base=config.base, d_rotated=d_rotated, is_interleaved=config.interleaved)
        assert got.tolist() == pytest.approx(want, abs=1e-4)
        assert torch.equal(got[d_rotated:], row[d_rotated:]), "what is beyond the turned part passes"


@given(rotaries, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_rotary_scores_depend_on_distance_alone(config: PositionConfig, query: int, key: int, shift: int) -> None:
    x = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(query))

    def score(start: int) -> float:
        q, k = turn(x, [query + start, key + start], config)
        return (q @ k).item()

    assert score(0) == pytest.approx(score(shift), abs=1e-9)
    if config.fraction == 1.0 and query != key:
        assert abs(score(0) - (x[0] @ x[1]).item()) > 1e-6, "distance matters"


ROPE = {
    "linear": ({"factor": 4.0}, {"factor": 4.0}),
    "llama3": (
        {"factor": 8.0, "low": 1.0, "high": 4.0, "original_context": 4096},
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 4096},
    ),
    "yarn": (
        {"factor": 4.0, "low": 1.0, "high": 32.0, "original_context": 4096},
        {"factor": 4.0, "beta_slow": 1.0, "beta_fast": 32.0, "original_max_position_embeddings": 4096},
    ),
}


@pytest.mark.parametrize("kind", ROPE)
@pytest.mark.parametrize(("base", "d_head"), [(10_000.0, 32), (500_000.0, 64), (10_000.0, 8)])
def test_rotary_scaling_equals_transformers(kind: str, base: float, d_head: int) -> None:
    ours, theirs = ROPE[kind]
    reference = LlamaConfig(
        hidden_size=2 * d_head,
        num_attention_heads=2,
        max_position_embeddings=32_768,
        rope_parameters={"rope_type": kind, "rope_theta": base, **theirs},
    )
    want, want_factor = ROPE_INIT_FUNCTIONS[kind](reference, torch.device("cpu"))
    config = PositionConfig(kind="rotary", base=base, scaling=RotaryScaling(kind=kind, **ours))  # type: ignore[arg-type]
    got, factor = rotary_frequencies(d_head, config)
    torch.testing.assert_close(got, want, rtol=2e-6, atol=0)
    assert factor == pytest.approx(want_factor)
    plain, _ = rotary_frequencies(d_head, PositionConfig(kind="rotary", base=base))
    assert not torch.allclose(got, plain), "the scaling does something"


def test_yarn_takes_an_attention_factor() -> None:
    scaling = RotaryScaling(kind="yarn", factor=4.0, high=32.0, original_context=64, attention_factor=0.5)
    rotary = Rotary(8, PositionConfig(kind="rotary", scaling=scaling))
    cos, sin = rotary(torch.tensor([[3]]))
    assert torch.allclose(cos**2 + sin**2, torch.tensor(0.25))


@given(st.booleans(), st.sampled_from([8, 32, 64]), st.sampled_from([70, 128]))
def test_distance_buckets_equal_transformers(is_bidirectional: bool, num_buckets: int, max_distance: int) -> None:
    distance = torch.arange(-400, 401)
    config = PositionConfig(
        kind="relative", num_buckets=num_buckets, max_distance=max_distance, bidirectional=is_bidirectional
    )
    want = T5Attention._relative_position_bucket(
        distance, bidirectional=is_bidirectional, num_buckets=num_buckets, max_distance=max_distance
    )
    assert torch.equal(distance_bucket(distance, config), want)


@pytest.mark.parametrize("num_heads", [1, 2, 3, 4, 6, 8, 12, 16, 20])
def test_alibi_slopes_equal_transformers(num_heads: int) -> None:
    """Bloom stores slope × key position; a key at position 1 shows the slope itself."""
    want = build_alibi_tensor(torch.ones(1, 2), num_heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(alibi_slopes(num_heads), want, rtol=1e-6, atol=0)


def test_alibi_differs_from_bloom_by_a_constant_per_query_alone() -> None:
    """softmax(x + c) = softmax(x), so both give the same weights over the keys that a causal query sees."""
    tokens = visibility.causal(6)
    ours = AlibiBias(4)(tokens, tokens)[0]
    theirs = build_alibi_tensor(torch.ones(1, 6), 4, torch.float32)
    hidden = torch.ones(6, 6).triu(1).bool()
    weights = [torch.softmax(bias.masked_fill(hidden, -torch.inf), dim=-1) for bias in (ours, theirs.expand(4, 6, 6))]
    torch.testing.assert_close(*weights)
