"""Training with adapters: which matrices are chosen, gradients against a literal twin, and that nothing but adapters changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer

from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import adapters
from cutaway.objectives import causal, cross_entropy
from cutaway.strict import build
from cutaway.train.adapters import AdapterConfig, attach, projection_names
from cutaway.train.optimise import make_optimisers
from cutaway.train.recipe import OptimiserRecipe
from cutaway.train.state import optimiser_tensors, restore_optimisers
from cutaway.train.step import gradient_step, micro_seed
from cutaway.weights.adapters import load_adapter, save_adapter
from tests import tiny
from tests.objectives import batches

ATTENTION = AdapterConfig(targets=("*.attention.query", "*.attention.value"), rank=3, alpha=7.0)


def paths(model: Transformer) -> list[str]:
    return [path.replace(".sublayer", "") for path in adapters(model)]


def test_targets_are_names_with_stars_or_their_ends() -> None:
    layer, heads = "decoder.layers.1", ("query", "key", "value", "output")
    wanted: dict[tuple[str, ...], list[str]] = {
        ("*.layers.1.attention.*",): [f"{layer}.attention.{head}" for head in heads],
        ("decoder.layers.1.attention.query",): [f"{layer}.attention.query"],
        ("layers.1.feedforward.input", "*.1.attention.key"): [f"{layer}.attention.key", f"{layer}.feedforward.input"],
        ("query",): ["decoder.layers.0.attention.query", f"{layer}.attention.query"],
        ("head.projection",): ["head.projection"],
    }
    for targets, names in wanted.items():
        model = tiny.model(tiny.config())
        attach(model, AdapterConfig(targets=targets, rank=2), seed=1)
        assert paths(model) == names


@pytest.mark.parametrize("placement", ["pre", "post", "parallel"])
def test_every_projection_has_a_name_wherever_its_norm_is(placement: str) -> None:
    names = projection_names(tiny.model(tiny.config(decoder=tiny.stack(placement=placement))))
    heads = [f"attention.{part}" for part in ("query", "key", "value", "output")]
    layers = [
        f"decoder.layers.{i}.{part}" for i in (0, 1) for part in (*heads, "feedforward.input", "feedforward.output")
    ]
    assert names == [*layers, "head.projection"]


def test_a_seed_gives_the_same_a_and_another_one_another() -> None:
    models = [tiny.model(tiny.config()) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        attach(model, ATTENTION, seed=seed)
    one, same, other = ([adapter.down for adapter in adapters(model).values()] for model in models)
    assert all(map(torch.equal, one, same))
    assert not any(map(torch.equal, one, other))
    assert max(down.abs().max().item() for down in one) <= 16**-0.5


def test_gradients_are_those_of_a_literal_twin() -> None:
    """The twin is the plain model over the weights W + alpha / rank · B A, written out."""
    config, ids = tiny.config(), tiny.ids(2, 11)
    model, plain = tiny.model(config, dtype=torch.float64), tiny.model(config, dtype=torch.float64)
    factors = attach(model, ATTENTION, seed=4)
    for adapter in adapters(model).values():
        adapter.up.data.normal_()
    call = Call(visibility.causal(11))
    model(ids, call).square().mean().backward()

    twins = [factor.detach().clone().requires_grad_(True) for factor in factors]
    weights = dict(plain.named_parameters())
    for index, path in enumerate(adapters(model)):
        down, up = twins[2 * index : 2 * index + 2]
        weights[f"{path}.weight"] = plain.get_submodule(path).weight + 7 / 3 * torch.einsum("or,ri->oi", up, down)
    functional_call(plain, weights, (ids, call)).square().mean().backward()
    for factor, twin in zip(factors, twins, strict=True):
        assert twin.grad is not None
        assert twin.grad.abs().max() > 1e-6
        torch.testing.assert_close(factor.grad, twin.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_training_changes_every_adapter_and_nothing_else(kind: Any) -> None:
    model = tiny.model(tiny.config(is_tied=True)).requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    factors = attach(model, ATTENTION, seed=4)
    optimisers = make_optimisers(model, OptimiserRecipe(kind=kind, learning_rate=0.01))
    assert len(optimisers) == 1, "factors are no matter for Muon"
    held = [parameter for group in optimisers[0].param_groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, factors))
    started = [factor.detach().clone() for factor in factors]
    batch, losses = causal(batches.packed(8)), []
    for step in range(6):
        seeds = [micro_seed(1, step, 0)]
        losses.append(gradient_step(model, [batch], optimisers, clip=1.0, precision="fp32", seeds=seeds)[0])
    assert losses[-1] < losses[0]
    assert not any(torch.equal(one, factor) for one, factor in zip(started, factors, strict=True))
    after = {name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items()}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_training_goes_on_from_files_bit_for_bit(tmp_path: Path) -> None:
    """Six steps at once, and three, files, three: adapters with dropout, in the order in which they were attached."""
    config = replace(ATTENTION, dropout=0.2)
    whole, start, again = (tiny.model(tiny.config()).train() for _ in range(3))
    attach(whole, config, seed=4)
    steps(whole, range(6))
    attach(start, config, seed=4)
    state = optimiser_tensors(steps(start, range(3)))
    save_adapter(tmp_path / "a", start)
    load_adapter(tmp_path / "a", again)
    steps(again, range(3, 6), state)
    for path, adapter in adapters(whole).items():
        assert torch.equal(adapters(again)[path].down, adapter.down)
        assert torch.equal(adapters(again)[path].up, adapter.up)


def steps(model: Transformer, numbers: range, state: dict[str, Tensor] | None = None) -> list[Optimizer]:
    """Some steps of training, from the state of optimisers where there is one."""
    optimisers = make_optimisers(model, OptimiserRecipe(learning_rate=0.01))
    if state is not None:
        restore_optimisers(optimisers, state)
    for step in numbers:
        batch = causal(batches.packed(4 + step))
        gradient_step(model, [batch], optimisers, clip=1.0, precision="fp32", seeds=[micro_seed(1, step, 0)])
    return optimisers


def test_a_loaded_adapter_is_trained_alone_too(tmp_path: Path) -> None:
    model, other = (tiny.model(tiny.config()).requires_grad_(True) for _ in range(2))
    factors = attach(model, ATTENTION, seed=4)
    save_adapter(tmp_path / "a", model)
    loaded = load_adapter(tmp_path / "a", other)
    assert [tuple(factor.shape) for factor in loaded] == [tuple(factor.shape) for factor in factors]
    assert {id(p) for p in other.parameters() if p.requires_grad} == {id(factor) for factor in loaded}


def test_the_first_loss_is_that_of_the_base() -> None:
    batch, model = causal(batches.packed(4)), tiny.model(tiny.config())
    wanted = cross_entropy(model(batch.input_ids, Call(batch.tokens)), batch)
    attach(model, ATTENTION, seed=4)
    assert torch.equal(cross_entropy(model(batch.input_ids, Call(batch.tokens)), batch), wanted)


def test_a_config_is_read_strictly() -> None:
    data = {"targets": ["*.query"], "rank": 4, "alpha": 8}
    assert build(AdapterConfig, data) == AdapterConfig(targets=("*.query",), rank=4, alpha=8.0)
    with pytest.raises(CutawayError, match=r"Unknown key 'ranks'.*'rank'"):
        build(AdapterConfig, {**data, "ranks": 4})


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"targets": ()}, r"'adapter.targets' is \(\)"),
        ({"rank": 0}, "'adapter.rank' is 0. It takes a whole number from 1"),
        ({"alpha": 0.0}, "'adapter.alpha' is 0.0"),
        ({"alpha": float("nan")}, "'adapter.alpha' is nan"),
        ({"dropout": 1.0}, "'adapter.dropout' is 1.0"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        replace(ATTENTION, **knobs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"targets": ("*.query", "*.attention.qury")},
            r"'\*.attention.qury' names no proj.*Did you mean '\*.attention.query'",
        ),
        ({"targets": ("q_proj",)}, r"'q_proj' names no projection.*\*.attention.query"),
        (
            {"rank": 17},
            "'adapter.rank' is 17, and decoder.layers.0.attention.query is a matrix of 16 × 16: its rank is at most",
        ),
    ],
)
def test_what_the_model_has_not_is_refused_and_leaves_it_as_it_was(knobs: dict[str, Any], message: str) -> None:
    model = tiny.model(tiny.config()).requires_grad_(True)
    with pytest.raises(CutawayError, match=message):
        attach(model, replace(ATTENTION, **knobs), seed=1)
    assert not adapters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_on_adapters_are_refused() -> None:
    model = tiny.model(tiny.config())
    attach(model, ATTENTION, seed=1)
    with pytest.raises(CutawayError, match="has adapters already"):
        attach(model, ATTENTION, seed=1)
