"""Adapters on a model: what they compute against the merged weights, what changes no bit, what merging and detaching leave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.config import ExpertsConfig, FeedForwardConfig, StackConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import LowRank, adapters, detach, matrices, merge, put_adapter
from cutaway.runtime.kernels import accelerate
from cutaway.train.adapters import AdapterConfig, attach
from tests import tiny

LENGTH = 9
IDS, CALL = tiny.ids(2, LENGTH), Call(visibility.causal(LENGTH))
EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=2))
STACKS = {
    "pre": tiny.stack(),
    "parallel": tiny.stack(placement="parallel"),
    "experts": tiny.stack(feedforward=EXPERTS),
    "shared": tiny.stack(num_layers=5, num_shared=2),
}
ALL = AdapterConfig(targets=("*",), rank=3, alpha=5.0)


def trained(model: Transformer, config: AdapterConfig = ALL) -> Transformer:
    """With adapters whose B is random too, as after training."""
    attach(model, config, seed=2)
    generator = torch.Generator().manual_seed(3)
    for adapter in adapters(model).values():
        adapter.up.data.copy_(0.1 * torch.randn(adapter.up.shape, generator=generator))
    return model


@torch.inference_mode()
def logits(model: Transformer, ids: Tensor = IDS) -> Tensor:
    return model(ids, Call(visibility.causal(ids.shape[1])))


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_merged_is_unmerged(stack: StackConfig) -> None:
    config = tiny.config(decoder=stack)
    model = trained(tiny.model(config))
    wanted = logits(model)
    assert (wanted - logits(tiny.model(config))).abs().max() > 0.1, "adapters that change nothing prove nothing"
    merge(model)
    assert not adapters(model)
    assert list(model.state_dict()) == list(tiny.model(config).state_dict())
    tiny.assert_close(logits(model), wanted)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_b_of_zeros_changes_no_bit(stack: StackConfig) -> None:
    config = tiny.config(decoder=stack)
    model = tiny.model(config)
    attach(model, ALL, seed=2)
    assert all(adapter.down.std() > 0 for adapter in adapters(model).values())
    assert torch.equal(logits(model), logits(tiny.model(config)))


def test_detached_is_the_model_before_bit_for_bit() -> None:
    plain, model = tiny.model(tiny.config()), trained(tiny.model(tiny.config()))
    detach(model)
    assert all(torch.equal(p, model.state_dict()[name]) for name, p in plain.state_dict().items())
    assert torch.equal(logits(model), logits(plain))


def test_the_scale_is_alpha_over_the_rank_or_over_its_root() -> None:
    assert LowRank(rank=4, alpha=6.0).scale == 1.5
    assert LowRank(rank=4, alpha=6.0, is_rank_stabilised=True).scale == 3.0


def test_the_change_written_out() -> None:
    model = tiny.model(tiny.config())
    path = "decoder.layers.1.feedforward.sublayer.input"
    base = model.get_submodule(path)
    adapter = put_adapter(model, path, LowRank(rank=2, alpha=3.0))
    adapter.down.data.normal_()
    adapter.up.data.normal_()
    x = torch.randn(16)
    found = adapter(x.view(1, 1, -1), CALL).flatten()
    for row in range(24):
        wanted = base.weight[row] @ x + base.bias[row]
        wanted = wanted + 3 / 2 * sum(adapter.up[row, r] * (adapter.down[r] @ x) for r in range(2))
        assert found[row].item() == pytest.approx(wanted.item(), abs=1e-4)


def test_a_tied_head_gets_weights_of_its_own_when_merged() -> None:
    config = tiny.config(is_tied=True)
    model = trained(tiny.model(config), AdapterConfig(targets=("head.projection",), rank=3))
    wanted, table = logits(model), model.token.weight.clone()
    merge(model)
    tiny.assert_close(logits(model), wanted)
    assert torch.equal(model.token.weight, table)
    assert not model.config.is_tied
    assert config.is_tied


def test_native_projections_go_under_adapters_before_and_after() -> None:
    """Long enough that the native kernels take the products, and short enough that they do not; three ways to one model."""
    config = tiny.config(decoder=tiny.stack(d_model=32, feedforward=FeedForwardConfig(d_hidden=96)))
    plain, before, after = (tiny.model(config) for _ in range(3))
    trained(plain)
    accelerate(before)
    trained(before)
    trained(after)
    accelerate(after)
    assert {type(adapter.base) for adapter in adapters(before).values()} == {
        type(adapter.base) for adapter in adapters(after).values()
    }
    for length in (1, 5, 40):
        ids = tiny.ids(3, length)
        tiny.assert_close(logits(before, ids), logits(plain, ids))
        assert torch.equal(logits(before, ids), logits(after, ids))


def test_a_model_in_half_precision_has_adapters_in_fp32() -> None:
    model = trained(tiny.model(tiny.config(), dtype=torch.bfloat16))
    assert {adapter.down.dtype for adapter in adapters(model).values()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16
    path, adapter = next(iter(adapters(model).items()))
    wanted = (adapter.base.weight.float() + adapter.change()).bfloat16()
    merge(model)
    assert torch.equal(matrices(model)[path].weight, wanted)


def test_dropout_acts_on_the_input_of_a_in_training_alone() -> None:
    model = trained(tiny.model(tiny.config()), AdapterConfig(targets=("*.query",), rank=3, dropout=0.5))
    still = logits(model)
    model.train()
    torch.manual_seed(7)
    one = logits(model)
    torch.manual_seed(7)
    assert torch.equal(logits(model), one)
    assert not torch.equal(one, still)
    assert torch.equal(logits(model.eval()), still)


def test_watched_sites_are_those_of_the_model_with_its_adapters() -> None:
    model = trained(tiny.model(tiny.config()))
    recorder = tiny.recorder(model, 2, LENGTH)
    with torch.inference_mode():
        watched = model(IDS, Call(visibility.causal(LENGTH), watch=recorder))
    assert torch.equal(watched, logits(model))
