"""Schedules by exact values; every parameter in exactly one optimiser, decayed and turned as it should be."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from cutaway.config import AttentionConfig, PositionConfig
from cutaway.model import Transformer, initialise
from cutaway.train.optimise import factor, layer_matrices, make_optimisers, rates, set_rate
from cutaway.train.recipe import OptimiserRecipe, ScheduleRecipe
from tests import tiny

VARIANTS = {
    "decoder": tiny.config(is_tied=True),
    "untied": tiny.config(),
    "learned positions": tiny.config(decoder=tiny.stack(position=PositionConfig(kind="learned"))),
    "relative positions": tiny.config(decoder=tiny.stack(position=PositionConfig(kind="relative"))),
    "two stacks": tiny.config(encoder=tiny.stack(), decoder=tiny.stack(), is_tied=True),
    "shared layers": tiny.config(decoder=tiny.stack(num_layers=4, num_shared=2)),
    "head norm": tiny.config(decoder=tiny.stack(attention=AttentionConfig(num_heads=4, query_key_norm="head"))),
}


def make(name: str) -> Transformer:
    return initialise(Transformer(VARIANTS[name]), torch.Generator().manual_seed(1))


def test_cosine_by_exact_values() -> None:
    recipe = ScheduleRecipe(kind="cosine", warmup_steps=4, final=0.1)
    found = [factor(step, 12, recipe) for step in range(12)]
    falling = [0.1 + 0.9 * (1 + math.cos(math.pi * progress / 8)) / 2 for progress in range(8)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, *falling], abs=1e-12)


def test_warmup_stable_decay_by_exact_values() -> None:
    recipe = ScheduleRecipe(kind="wsd", warmup_steps=2, decay_share=0.4, final=0.0)
    found = [factor(step, 10, recipe) for step in range(10)]
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25], abs=1e-12)


def test_constant_stays_after_the_warmup() -> None:
    recipe = ScheduleRecipe(kind="constant", warmup_steps=2)
    assert [factor(step, 5, recipe) for step in range(5)] == [0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["cosine", "wsd", "constant"])
@pytest.mark.parametrize("warmup", [0, 3, 50])
def test_every_schedule_stays_within_0_and_1(kind: str, warmup: int) -> None:
    recipe = replace(ScheduleRecipe(warmup_steps=warmup, final=0.0), kind=kind)  # type: ignore[arg-type]
    for steps in (1, 2, 10):
        assert all(0 < factor(step, steps, recipe) <= 1 for step in range(steps))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_is_in_exactly_one_optimiser(name: str, kind: str) -> None:
    model = make(name)
    optimisers = make_optimisers(model, OptimiserRecipe(kind=kind))  # type: ignore[arg-type]
    held = [id(p) for each in optimisers for group in each.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("name", VARIANTS)
def test_vectors_are_not_decayed_and_matrices_are(name: str, kind: str) -> None:
    optimisers = make_optimisers(make(name), OptimiserRecipe(kind=kind, weight_decay=0.3))  # type: ignore[arg-type]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] == 0.3}
            assert group["weight_decay"] in (0.0, 0.3)


@pytest.mark.parametrize("name", VARIANTS)
def test_muon_turns_only_matrices_inside_layers(name: str) -> None:
    model = make(name)
    adamw, muon = make_optimisers(model, OptimiserRecipe(kind="muon"))
    assert isinstance(muon, torch.optim.Muon)
    turned = {id(p) for group in muon.param_groups for p in group["params"]}
    stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
    inside = {id(p) for stack in stacks for p in stack.layers.parameters() if p.ndim == 2}
    outside = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert turned == inside
    assert id(model.token.weight) in outside
    assert all(id(p) in outside for p in model.parameters() if p.ndim < 2)


def test_a_tied_head_is_one_parameter() -> None:
    model = make("decoder")
    assert model.head is not None
    assert model.head.projection.weight is model.token.weight
    (adamw,) = make_optimisers(model, OptimiserRecipe())
    held = [p for group in adamw.param_groups for p in group["params"]]
    assert sum(p is model.token.weight for p in held) == 1


def test_layers_shared_across_depth_are_turned_once() -> None:
    found = layer_matrices(make("shared layers"))
    assert len({id(weight) for weight in found}) == len(found) == 2 * 6


def test_rates_are_those_of_each_optimiser() -> None:
    optimisers = make_optimisers(
        make("decoder"), OptimiserRecipe(kind="muon", learning_rate=0.004, muon_learning_rate=0.03)
    )
    set_rate(optimisers, 0.5)
    assert rates(optimisers) == {"learning_rate": 0.002, "muon_learning_rate": 0.015}
    set_rate(optimisers, 1.0)
    assert {group["lr"] for group in optimisers[0].param_groups} == {0.004}
    assert rates(make_optimisers(make("decoder"), OptimiserRecipe(learning_rate=0.2))) == {"learning_rate": 0.2}


def test_knobs_reach_the_optimisers() -> None:
    recipe = OptimiserRecipe(kind="muon", beta1=0.8, beta2=0.7, momentum=0.6)
    adamw, muon = make_optimisers(make("decoder"), recipe)
    assert adamw.param_groups[0]["betas"] == (0.8, 0.7)
    assert muon.param_groups[0]["momentum"] == 0.6


def test_every_parameter_moves() -> None:
    model = make("decoder")
    (adamw,) = make_optimisers(model, OptimiserRecipe(learning_rate=0.1))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    adamw.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_training_begins_without_torchs_compiler() -> None:
    """Importing it takes as long as importing torch; a new torch that does so again is to be noticed."""
    code = (
        "import sys, torch; from tests.train.test_optimise import make; from cutaway.train.recipe import OptimiserRecipe\n"
        "from cutaway.train.optimise import make_optimisers\n"
        "model = make('untied')\n"
        "for parameter in model.parameters(): parameter.grad = torch.ones_like(parameter)\n"
        "for optimiser in make_optimisers(model, OptimiserRecipe(kind='muon')):\n"
        "    optimiser.step(); optimiser.load_state_dict(optimiser.state_dict())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
