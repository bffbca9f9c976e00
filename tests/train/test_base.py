"""Going on from a model: its weights, its tokenizer and its shape; resumed like any run; what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights import checkpoint
from tests import tiny

from . import runs, test_pairs

FINETUNE = """
name = "more"
base = "base"
[[data.train]]
files = "text.txt"
[optimiser]
learning_rate = 0.001
[schedule]
warmup_steps = 0
[training]
steps = 6
context = 12
batch_size = 4
evaluate_every = 3
sample_every = 3
save_every = 2
threads = 1
[sample]
prompt = "The "
max_tokens = 8
"""


def recipe(folder: Path, *changes: str) -> Recipe:
    """The recipe, with a trained base beside it."""
    if not (folder / "base").exists():
        runs.train(runs.recipe(folder, "training.steps=30", "training.save_every=30"), folder / "run")
        runs.checkpoint(folder / "run", 30).rename(folder / "base")
    (folder / "more.toml").write_text(FINETUNE)
    return load_recipe(str(folder / "more.toml"), changes)


def train(recipe: Recipe, out: Path) -> Trainer:
    trainer = Trainer(recipe, out)
    for _ in trainer.run():
        pass
    return trainer


def test_it_begins_where_the_base_is(tmp_path: Path) -> None:
    trainer = Trainer(recipe(tmp_path), tmp_path / "more")
    base = load(tmp_path / "base")
    assert trainer.data.tokenizer == base.tokenizer
    assert trainer.data.config == base.config
    assert all(
        torch.equal(weight, base.model.state_dict()[name]) for name, weight in trainer.model.state_dict().items()
    )
    assert trainer.data.task(0, 0).input_ids.shape == (4, 12)
    first, *_, last = [event.values["loss"] for event in trainer.run() if event.kind == "step"]
    assert last < first
    changed = load(tmp_path / "more").model.state_dict()
    assert any(not torch.equal(changed[name], weight) for name, weight in base.model.state_dict().items())


def test_a_run_from_a_base_goes_on_bit_for_bit(tmp_path: Path) -> None:
    plan, base = recipe(tmp_path), tmp_path / "base"  # which a resumed run no longer needs
    runs.assert_goes_on_bit_for_bit(plan, tmp_path, stop=3, meanwhile=lambda: base.rename(tmp_path / "gone"))


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(tmp_path)
    assert main(["train", str(tmp_path / "more.toml"), "--out", str(tmp_path / "more")]) == 0
    assert "Done in" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "more.toml"), "training.steps=4", "--out", str(tmp_path / "cut")]) == 0
    (tmp_path / "cut" / "events.jsonl").write_text("")  # as if it was killed before it said that it ended
    (tmp_path / "base").rename(tmp_path / "gone")
    assert main(["train", str(tmp_path / "more.toml"), "training.steps=4", "--out", str(tmp_path / "cut")]) == 0
    assert "resumes at step 4" in capsys.readouterr().out
    (tmp_path / "gone").rename(tmp_path / "base")
    assert main(["train", str(tmp_path / "more.toml"), "base=nowhere", "--out", str(tmp_path / "other")]) == 2
    assert "There is no model 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


REFUSED = {
    "a model too": (("model.context=3",), "model"),
    "a tokenizer too": (("tokenizer.kind=byte",), "brings its own tokenizer"),
    "a row too long": (("training.context=17",), "training.context is 17, and the model's positions end at 16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(CutawayError, match=message):
        train(recipe(tmp_path, *changes), tmp_path / "more")


def test_a_base_of_another_kind_is_refused(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    tokenizer = load(tmp_path / "base").tokenizer
    for name, stacks in (("reader", {"encoder": tiny.stack(), "decoder": None}), ("both", {"encoder": tiny.stack()})):
        model = tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, **stacks))
        checkpoint.save(tmp_path / name, model, tokenizer_files=tokenizer.save)
        with pytest.raises(CutawayError, match="takes a model with a decoder alone"):
            Trainer(replace(plan, base=str(tmp_path / name)), tmp_path / "more")


def test_a_base_without_tokenizer_is_refused(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    checkpoint.save(tmp_path / "bare", tiny.model(tiny.config()))
    with pytest.raises(CutawayError, match="has no tokenizer"):
        Trainer(replace(plan, base=str(tmp_path / "bare")), tmp_path / "more")


def test_pairs_need_a_base_with_two_stacks(tmp_path: Path) -> None:
    recipe(tmp_path)
    test_pairs.recipe(tmp_path)
    text = (tmp_path / "pairs.toml").read_text()
    bare = text[: text.index("[model]")].replace('[tokenizer]\nkind = "byte"', 'base = "base"')
    (tmp_path / "pairs.toml").write_text(bare + text[text.index("[schedule]") :])
    with pytest.raises(CutawayError, match="takes a model with an encoder and a decoder"):
        Trainer(load_recipe(str(tmp_path / "pairs.toml")), tmp_path / "more")


def test_either_a_model_or_a_base(tmp_path: Path) -> None:
    text = recipe(tmp_path) and (tmp_path / "more.toml").read_text()
    (tmp_path / "more.toml").write_text(str(text).replace('base = "base"\n', ""))
    with pytest.raises(
        CutawayError, match="either a \\[model\\] to train from scratch or a base to go on from, and neither"
    ):
        load_recipe(str(tmp_path / "more.toml"))
