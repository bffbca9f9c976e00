"""Layers as wholes: placements against literal twins, sharing across depth, tied heads, caps, scales, norms at the ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, LayerType, PositionConfig
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, initialise, visibility
from cutaway.model.transformer import Head
from tests import tiny
from tests.reference import layers as literal

CALL = Call(visibility.causal(6))


@pytest.mark.parametrize("placement", tiny.PLACEMENTS)
@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_a_layer_equals_its_literal_twin(placement: str, num_kv_heads: int) -> None:
    attention = AttentionConfig(num_heads=4, num_kv_heads=num_kv_heads)
    stack = tiny.stack(placement=placement, attention=attention)
    model = tiny.model(tiny.config(decoder=stack), dtype=torch.float64)
    layer = model.main.layers[0]
    x = torch.randn(1, 6, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    got = layer(x, model.main.begin(CALL).at(0, "full"))
    want = literal.block(x[0], dict(layer.state_dict()), placement, 4, num_kv_heads)
    torch.testing.assert_close(got[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["none", "head", "full"])
def test_queries_and_keys_are_normed_where_they_meet(kind: Any) -> None:
    """Per head or over the full width, in self-attention and in cross-attention, where keys come from the memory."""
    stack = tiny.stack(attention=AttentionConfig(num_heads=4, num_kv_heads=2, query_key_norm=kind))
    model = tiny.model(tiny.config(encoder=stack, decoder=stack), dtype=torch.float64)
    memory = model.encode(tiny.ids(1, 7), Call(visibility.full(7)))
    recorder = tiny.recorder(model, 1, 6, "decoder.layers.1.*", source=7)
    model(tiny.ids(1, 6), Call(visibility.causal(6), memory=memory, watch=recorder))
    for part, read in (("attention", None), ("cross", memory.states)):
        seen = {site: recorder.tensors[f"decoder.layers.1.{part}.{site}"] for site in ("input", "query", "key")}
        weights = dict(getattr(model.main.layers[1], part).sublayer.state_dict())
        source = seen["input"] if read is None else read
        for name, x in (("query", seen["input"]), ("key", source)):
            want = literal.linear(x[0], weights, name)
            wide = want.unflatten(-1, (-1, 4)) if kind == "head" else want
            if kind != "none":
                wide = literal.norm(wide, weights, f"{name}_norm" + (".norm" if kind == "head" else ""))
            torch.testing.assert_close(seen[name][0], wide.reshape(want.shape).unflatten(-1, (-1, 4)).transpose(0, 1))


@pytest.mark.parametrize("has_norm", [True, False])
def test_norms_at_the_ends(has_norm: bool) -> None:
    """One on token + position, one on the last stream; each where the config says."""
    stack = tiny.stack(has_embedding_norm=has_norm, has_final_norm=not has_norm)
    model = tiny.model(tiny.config(decoder=stack))
    recorder = tiny.recorder(model, 1, 6)
    model(tiny.ids(1, 6), Call(visibility.causal(6), watch=recorder))
    seen, weights = recorder.tensors, dict(model.main.state_dict())
    added = seen["embedding.token"] + seen["embedding.position"]
    first = literal.norm(added, weights, "embedding.norm") if has_norm else added
    torch.testing.assert_close(seen["embedding.sum"], first)
    end = seen["layers.1.residual.end"]
    last = end if has_norm else literal.norm(end, weights, "norm")
    torch.testing.assert_close(seen["output.norm"], last)


def test_layers_shared_across_depth_equal_a_deep_stack_of_copies() -> None:
    shared = tiny.model(tiny.config(decoder=tiny.stack(num_layers=5, num_shared=2)))
    deep = Transformer(tiny.config(decoder=tiny.stack(num_layers=5)))
    weights = shared.state_dict()
    for depth in range(5):
        own = f"decoder.layers.{depth}."
        source = f"decoder.layers.{depth % 2}."
        copies = {own + name.removeprefix(source): w for name, w in weights.items() if name.startswith(source)}
        weights = {**weights, **copies}
    deep.load_state_dict(weights)
    ids = tiny.ids(2, 6)
    assert len(shared.main.layers) == 2
    assert torch.equal(shared(ids, CALL), deep.eval()(ids, CALL))


def test_a_tied_head_is_the_embedding() -> None:
    model = tiny.model(tiny.config(is_tied=True))
    assert model.head is not None
    assert model.head.projection.weight is model.token.weight
    states = model.states(tiny.ids(1, 6), CALL)
    torch.testing.assert_close(model.logits(states, CALL), states @ model.token.weight.T)


def test_an_untied_head_has_its_own_matrix_and_bias() -> None:
    model = tiny.model(tiny.config(head_bias=True))
    assert model.head is not None
    states = model.states(tiny.ids(1, 6), CALL)
    head = model.head.projection
    torch.testing.assert_close(model.logits(states, CALL), states @ head.weight.T + head.bias)
    assert head.weight is not model.token.weight


def test_logits_are_scaled_and_then_capped() -> None:
    model = tiny.model(tiny.config(logit_scale=3.0, logit_softcap=2.0))
    plain = Head(tiny.config(), model.token)
    assert model.head is not None
    plain.projection = model.head.projection
    states = model.states(tiny.ids(1, 6), CALL)
    want = 2.0 * torch.tanh(plain(states, CALL) * 3.0 / 2.0)
    torch.testing.assert_close(model.logits(states, CALL), want)
    assert want.abs().max() <= 2.0


def test_a_cap_on_scores_bends_them_before_the_mask() -> None:
    model = tiny.model(tiny.config(decoder=tiny.stack(attention=AttentionConfig(num_heads=4, softcap=0.5))))
    recorder = tiny.recorder(model, 1, 6, "layers.0.attention.scores")
    model(tiny.ids(1, 6), Call(visibility.causal(6), watch=recorder))
    scores = recorder.tensors["layers.0.attention.scores"]
    visible = torch.ones(6, 6).tril().bool()
    assert scores[..., visible].abs().max() <= 0.5
    assert (scores[..., ~visible] < -1e30).all()


def test_a_model_without_head_says_what_to_use() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), has_head=False))
    call = Call(visibility.full(4))
    assert model.states(tiny.ids(1, 4), call).shape == (1, 4, 16)
    with pytest.raises(CutawayError, match=r"no head.*`states`"):
        model(tiny.ids(1, 4), call)


def test_first_weights_come_from_the_generator_alone() -> None:
    config = tiny.config(is_tied=True, decoder=tiny.stack(num_layers=8, feedforward=FeedForwardConfig(d_hidden=256)))

    def fresh(seed: int) -> Transformer:
        return initialise(Transformer(config), torch.Generator().manual_seed(seed))

    torch.manual_seed(0)
    one = fresh(1)
    torch.manual_seed(99)
    two, other = fresh(1), fresh(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.token.weight, other.token.weight)
    feed = one.main.layers[0].feedforward.sublayer
    assert feed.input.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert feed.output.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1), "1/sqrt(2 · 8 layers)"


@pytest.mark.parametrize("name", ["half", "type", "keys", "forward"])
@pytest.mark.parametrize("kind", ["rotary", "relative"])
def test_a_layer_type_may_have_a_name_that_modules_use(name: str, kind: Any) -> None:
    stack = tiny.stack(position=PositionConfig(kind=kind), layer_types={name: LayerType()}, pattern=(name,))
    plain = tiny.stack(position=PositionConfig(kind=kind))
    call, ids = Call(visibility.causal(5)), tiny.ids(1, 5)
    assert torch.equal(
        tiny.model(tiny.config(decoder=stack))(ids, call), tiny.model(tiny.config(decoder=plain))(ids, call)
    )
