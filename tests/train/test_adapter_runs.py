"""Runs with [adapter]: the base stays as it is, checkpoints hold adapters alone, runs resume bit for bit and open by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.finding import read_config
from cutaway.lm import load
from cutaway.model.adapter import adapters, merge
from cutaway.train.recipe import Recipe, load_recipe

from . import runs, test_base

ADAPTER = """
[adapter]
targets = ["*.attention.query", "*.feedforward.*"]
rank = 3
dropout = 0.1
"""


def recipe(folder: Path, *changes: str) -> Recipe:
    """The recipe of `test_base`, by adapters."""
    test_base.recipe(folder)
    (folder / "more.toml").write_text(test_base.FINETUNE + ADAPTER)
    return load_recipe(str(folder / "more.toml"), changes)


def test_the_base_stays_and_the_run_opens_by_its_name(tmp_path: Path) -> None:
    events = runs.train(recipe(tmp_path, "training.steps=20", "optimiser.learning_rate=0.01"), tmp_path / "run2")
    (start,) = [event.values for event in events if event.kind == "start"]
    assert 0 < start["trained"] < start["parameters"] / 2
    losses = [event.values["loss"] for event in events if event.kind == "evaluate"]
    assert losses[-1] < losses[0]
    lm, base = load(tmp_path / "run2"), load(tmp_path / "base")
    assert len(adapters(lm.model)) == 6
    ids = lm.tokenizer.encode("The cat saw")
    assert not torch.allclose(lm.logits(ids), base.logits(ids))
    kept = runs.checkpoint(tmp_path / "run2", 20)
    assert not (kept / "model.safetensors").exists()
    assert read_config(kept) == base.config
    merged = load(tmp_path / "base", adapter=kept)
    merge(merged.model)
    assert torch.allclose(merged.logits(ids), lm.logits(ids), atol=1e-5)


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    runs.assert_goes_on_bit_for_bit(recipe(tmp_path), tmp_path, stop=3)


def test_adapters_need_a_base_and_have_no_mean(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="needs a base"):
        recipe(tmp_path, "training.average=2")


def test_a_base_that_is_not_here_is_not_fetched(tmp_path: Path) -> None:
    runs.train(recipe(tmp_path), tmp_path / "run2")
    kept = runs.checkpoint(tmp_path / "run2", 6)
    settings = kept / "adapter_config.json"
    text = settings.read_text()
    for name, message in (("some/model", "is not on this machine"), ("", "does not name its base")):
        settings.write_text(text.replace(str((tmp_path / "base").resolve()), name))
        with pytest.raises(CutawayError, match=message):
            load(kept)
    assert load(tmp_path / "base", adapter=kept).generate("The ", max_tokens=3)
