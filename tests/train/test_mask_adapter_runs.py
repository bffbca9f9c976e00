"""Runs with [adapter] at = "masks": a base that stays as it is learns to draft; its files open again, or say why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cutaway.apps.cli import main
from cutaway.decode import Sampling, Session, name_of, natural, replay, run
from cutaway.errors import CutawayError
from cutaway.finding import read_config
from cutaway.lm import load
from cutaway.model.adapter import adapters
from cutaway.model.masks import mask_embedding
from cutaway.text import SpecialPlan, train_tokenizer
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights import checkpoint
from cutaway.weights.adapters import load_adapter, save_adapter
from cutaway.weights.families import find_family
from tests import tiny

from . import runs, test_base
from .test_conversion import BYTES, LLAMA, STACKS, TEMPLATE, made

HYBRID = """
[objective]
kind = "hybrid"
block_size = 4
[adapter]
targets = ["*.attention.*", "*.feedforward.*"]
rank = 4
at = "masks"
"""
ROW = "cutaway.mask"


def recipe(folder: Path, *changes: str) -> Recipe:
    (folder / "text.txt").write_text(runs.TEXT, "utf-8")
    (folder / "more.toml").write_text(test_base.FINETUNE + HYBRID)
    return load_recipe(str(folder / "more.toml"), changes)


def trained(folder: Path, *changes: str) -> Path:
    """The last checkpoint of a short run."""
    runs.train(recipe(folder, "training.steps=3", "training.save_every=3", *changes), folder / "run")
    return runs.checkpoint(folder / "run", 3)


@pytest.mark.parametrize("name", ["gpt2", "llama, tied"])
def test_a_base_learns_to_draft_and_says_what_it_said(name: str, tmp_path: Path) -> None:
    made(tmp_path, STACKS[name], is_tied="tied" in name)
    every = [f"training.{what}=40" for what in ("steps", "evaluate_every", "sample_every", "save_every")]
    events = runs.train(recipe(tmp_path, "optimiser.learning_rate=0.05", *every), tmp_path / "run")
    losses = [event.values["loss"] for event in events if event.kind == "step"]
    assert sum(losses[-5:]) < sum(losses[:5]) - 1.5
    lm, base = load(tmp_path / "run"), load(tmp_path / "base")
    kept = runs.checkpoint(tmp_path / "run", 40)
    assert sorted(path.name for path in kept.glob("*.safetensors")) == [
        "adapter_model.safetensors",
        "train_state.safetensors",
    ]
    assert (lm.config.predicts, lm.config.block_size, lm.config.tokens.mask) == ("hybrid", 4, BYTES.vocab_size)
    assert read_config(kept) == lm.config
    assert name_of(lm.config) == "hybrid"
    assert lm.tokenizer == BYTES.with_mask() == load(tmp_path / "base", adapter=kept).tokenizer
    assert lm.chat_template is not None and lm.chat_template.source == TEMPLATE  # noqa: PT018
    ids = lm.ids(runs.TEXT[:15])
    assert torch.equal(lm.logits(ids)[..., : BYTES.vocab_size], base.logits(ids))
    prompts = ["The ", "A dog", "i"]
    assert [lm.model.config.predicts, base.model.config.predicts] == ["hybrid", "next"]
    for prompt in prompts:
        plain = natural(Session(base.model), base.ids(prompt), Sampling(temperature=0), max_tokens=9)
        quick = natural(Session(lm.model), lm.ids(prompt), Sampling(temperature=0), max_tokens=9)
        assert replay(run(quick)) == replay(run(plain))


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    made(tmp_path, STACKS["llama"])
    plan = recipe(tmp_path, "adapter.dropout=0.1")
    runs.assert_goes_on_bit_for_bit(plan, tmp_path, stop=3)
    (first, _), (last, _) = (_stored(runs.checkpoint(tmp_path / "whole", step)) for step in (4, 6))
    assert all(not torch.equal(first[name], last[name]) for name in first)
    assert ROW in first


def _stored(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return load_file(directory / "adapter_model.safetensors"), json.loads(
        (directory / "adapter_config.json").read_text()
    )


def test_the_files_are_those_of_the_format_with_a_key_of_ours(tmp_path: Path) -> None:
    """Modules in the names of the base's family; what the model is with the adapter in one table; there and back bit for bit."""
    made(tmp_path, STACKS["llama"])
    kept = trained(tmp_path)
    tensors, settings = _stored(kept)
    assert settings["cutaway"] == {"at": "masks", "mask_id": BYTES.vocab_size, "predicts": "hybrid", "block_size": 4}
    assert settings["peft_type"] == "LORA"
    assert {"base_model.model.model.layers.1.mlp.gate_proj.lora_A.weight", ROW} <= tensors.keys()
    assert find_family("llama", "here").misfits(load(tmp_path / "base").config) == []
    lm = load(kept)
    save_adapter(tmp_path / "again", lm.model, base=str(tmp_path / "base"))
    again, settings_again = _stored(tmp_path / "again")
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert {**settings_again, "base_model_name_or_path": ""} == {**settings, "base_model_name_or_path": ""}
    token = mask_embedding(lm.model)
    assert token is not None
    assert torch.equal(token.row, tensors[ROW])


def test_it_is_not_merged_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, STACKS["gpt2"])
    kept = trained(tmp_path)
    assert main(["convert", str(tmp_path / "base"), str(tmp_path / "out"), "--adapter", str(kept)]) == 2
    assert "act at masks alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_mask_that_the_base_has(tmp_path: Path) -> None:
    """Its vector begins as it is there; a padded row, as the mean."""
    with_mask = train_tokenizer("byte", [])
    base = made(tmp_path, LLAMA, with_mask)
    trainer = Trainer(recipe(tmp_path), tmp_path / "one")
    token = mask_embedding(trainer.model)
    assert token is not None
    assert trainer.model.config.vocab_size == with_mask.vocab_size
    assert torch.equal(token.row, base.token.weight[with_mask.roles.mask])
    padded = made(tmp_path, LLAMA, rows=3)
    trainer = Trainer(recipe(tmp_path), tmp_path / "other")
    token = mask_embedding(trainer.model)
    assert token is not None
    assert trainer.model.config.vocab_size == BYTES.vocab_size + 3
    assert torch.allclose(token.row, padded.token.weight[: BYTES.vocab_size].mean(0), atol=1e-6)


def _edit(directory: Path, **changes: Any) -> None:
    file = directory / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["cutaway"] = {**settings["cutaway"], **changes}
    file.write_text(json.dumps(settings))


def _without_row(directory: Path) -> None:
    tensors, _ = _stored(directory)
    save_file({name: each for name, each in tensors.items() if name != ROW}, directory / "adapter_model.safetensors")


def _short_row(directory: Path) -> None:
    tensors, _ = _stored(directory)
    save_file({**tensors, ROW: tensors[ROW][1:].clone()}, directory / "adapter_model.safetensors")


def _broken_row(directory: Path) -> None:
    tensors, _ = _stored(directory)
    save_file({**tensors, ROW: tensors[ROW] * torch.nan}, directory / "adapter_model.safetensors")


def _without_table(directory: Path) -> None:
    file = directory / "adapter_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "cutaway"}))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "another place": (lambda d: _edit(d, at="moons"), "in which at is 'masks'"),
    "an unknown key": (lambda d: _edit(d, colour=1), "Unknown key 'colour'"),
    "another prediction": (lambda d: _edit(d, predicts="masked"), "to draft: 'hybrid'"),
    "no prediction": (lambda d: _edit(d, predicts="all"), "predicts"),
    "no block": (lambda d: _edit(d, block_size=0), "block_size is 0"),
    "a mask below": (lambda d: _edit(d, mask_id=-1), "mask_id is -1"),
    "a mask beyond": (lambda d: _edit(d, mask_id=400), "at the mask 400 are for"),
    "no vector": (_without_row, "is not in it"),
    "a short vector": (_short_row, "vector of 16 numbers"),
    "no number": (_broken_row, "damaged, or its training diverged"),
    "no table": (_without_table, "unknown or other than in the model"),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    made(folder, STACKS["gpt2"])
    return trained(folder)


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused_and_leave_the_model(case: str, kept: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[case]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    damage(tmp_path)
    model = load(kept.parents[2] / "base").model
    config = model.config
    with pytest.raises(CutawayError, match=message):
        load_adapter(tmp_path, model)
    assert model.config == config
    assert not adapters(model)
    assert mask_embedding(model) is None


def test_a_base_that_does_not_say_the_next_token_is_refused(kept: Path) -> None:
    model = tiny.model(tiny.config(decoder=STACKS["gpt2"], vocab_size=BYTES.vocab_size, predicts="masked"))
    with pytest.raises(CutawayError, match="are for a decoder that predicts the next token"):
        load_adapter(kept, model)


REFUSED = {
    "another objective": (("objective.kind=diffusion",), "take objective.kind = 'hybrid'"),
    "everywhere": (("adapter.at=everywhere",), "trained with adapter.at = 'masks'"),
    "the head": (("adapter.targets=['head.projection']",), "projections of layers"),
    "another place": (("adapter.at=moons",), "adapter.at"),
    "smoothed": (("training.label_smoothing=0.1",), "leave label_smoothing out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_said_first(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    made(tmp_path, STACKS["gpt2"])
    runs.assert_said_first(lambda: recipe(tmp_path, *changes), tmp_path / "run", message)


def test_an_adapter_everywhere_goes_on_with_what_its_base_learned(tmp_path: Path) -> None:
    """A base that fills in masks already, its adapter trained on the same: nothing of ours is needed in the file."""
    tokenizer = train_tokenizer("byte", [])
    made(tmp_path, LLAMA, tokenizer)
    model = load(tmp_path / "base").model
    model.config = replace(model.config, predicts="masked", block_size=4)
    checkpoint.save(tmp_path / "base", model, tokenizer_files=tokenizer.save)
    kept = trained(tmp_path, "adapter.at=everywhere", "objective.kind=diffusion")
    assert "cutaway" not in _stored(kept)[1]
    assert load(kept).config == load(tmp_path / "base").config


def test_a_tokenizer_without_special_tokens_learns_to_draft(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("byte", [], specials=SpecialPlan.none())
    made(tmp_path, STACKS["gpt2"], tokenizer)
    assert load(trained(tmp_path)).tokenizer.roles.mask == tokenizer.vocab_size
