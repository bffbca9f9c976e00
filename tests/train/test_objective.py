"""Training by every objective: runs learn, resume bit for bit, say what their figures are, and refuse what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cutaway.decode import Denoising, Order, Sampling, Way
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.train.events import TrainEvent
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe

from . import runs

KINDS = {
    "next": (),
    "masked": ("objective.kind='masked'", "objective.rate=0.3"),
    "diffusion": ("objective.kind='diffusion'",),
    "shifted diffusion": ("objective.kind='diffusion'", "objective.is_shifted=true"),
    "blocks": ("objective.kind='diffusion'", "objective.block_size=4"),
    "hybrid": ("objective.kind='hybrid'", "objective.block_size=4"),
    "shifted hybrid": ("objective.kind='hybrid'", "objective.block_size=4", "objective.is_shifted=true"),
}
kinds = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
WORDS = runs.RECIPE.replace('kind = "character"', 'kind = "byte"')


def recipe(folder: Path, *changes: str) -> Recipe:
    return load_recipe(str(runs.write_recipe(folder, recipe=WORDS)), changes)


def of_kind(events: list[TrainEvent], kind: str) -> list[dict[str, Any]]:
    return [event.values for event in events if event.kind == kind]


@kinds
def test_a_run_learns_and_its_model_is_called_as_it_was_trained(changes: tuple[str, ...], tmp_path: Path) -> None:
    long = ("training.steps=60", "training.evaluate_every=30", "training.save_every=60", "optimiser.learning_rate=0.01")
    events = runs.train(recipe(tmp_path, *changes, *long), tmp_path / "run")
    first, last = of_kind(events, "evaluate")[0], of_kind(events, "evaluate")[-1]
    assert last["loss"] < first["loss"]
    is_bound = "diffusion" in str(changes) or "'masked'" in str(changes)
    assert ("standard_error" in last) == is_bound
    assert last["bits_per_byte"] > 0
    assert ("bits_per_byte" in of_kind(events, "step")[0]) == (changes == () or "diffusion" in str(changes))
    assert len(of_kind(events, "sample")[-1]["text"]) > len("The ")
    lm = load(tmp_path / "run")
    assert lm.config.block_size == (4 if "block_size" in str(changes) else None)
    assert lm.config.is_shifted == ("is_shifted" in str(changes))
    assert lm.generate("The cat", max_tokens=8)


@kinds
def test_a_run_that_was_stopped_goes_on_bit_for_bit(changes: tuple[str, ...], tmp_path: Path) -> None:
    """What is hidden is a function of seed and step."""
    plan = recipe(tmp_path, *changes)
    runs.train(plan, tmp_path / "whole")
    trainer = Trainer(plan, tmp_path / "cut")
    for event in trainer.run():
        if event.kind == "step" and event.step == 7:
            trainer.stop()
    runs.train(plan, tmp_path / "cut")
    runs.assert_same_state(runs.checkpoint(tmp_path / "cut", 12), runs.checkpoint(tmp_path / "whole", 12))


def test_two_seeds_hide_other_tokens(tmp_path: Path) -> None:
    plan = recipe(tmp_path, *KINDS["diffusion"])
    feed = Trainer(plan, tmp_path / "run").data
    one, again, later = feed.task(3, 0), feed.task(3, 0), feed.task(4, 0)
    assert (one.input_ids == again.input_ids).all()
    hidden = [task.input_ids == feed.config.tokens.mask for task in (one, later)]
    assert not (hidden[0] == hidden[1]).all()


def test_blocks_of_drafts_begin_anywhere(tmp_path: Path) -> None:
    """Of 4 places, each: what the first masks of a row see differs between steps and micro-batches."""
    feed = Trainer(recipe(tmp_path, *KINDS["hybrid"], "training.accumulate=2"), tmp_path / "run").data
    reads = [
        [tuple(feed.task(step, micro).tokens.reads[0, 16:20].tolist()) for micro in range(2)] for step in range(1, 17)
    ]
    assert len({each for pair in reads for each in pair}) == 4
    assert any(one != other for one, other in reads)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("objective.kind='hybrid'",), "needs one: how many tokens it drafts"),
        (("objective.kind='hybrid'", "objective.block_size=1"), "so nothing would be drafted"),
        (("objective.kind='hybrid'", "objective.block_size=17"), "and a row has 16 tokens"),
        (("objective.kind='masked'", "objective.block_size=4"), "has none; diffusion and hybrid have"),
        (("objective.block_size=4",), "'next' has none"),
        (
            ("objective.kind='diffusion'", "objective.block_size=5"),
            "does not divide the 16 tokens of a row. Allowed near it: 4, 2",
        ),
        (
            ("objective.kind='diffusion'", "objective.block_size=4", "objective.is_shifted=true"),
            "diffusion' with blocks",
        ),
        (("objective.is_shifted=true",), "objective.kind is 'next'"),
        (("objective.kind='noise'",), "objective.kind"),
        (("objective.rate=0",), "objective.rate is 0"),
        (("objective.draws=0",), "objective.draws is 0"),
        (("objective.draft_weight=-1",), "objective.draft_weight is -1"),
        (("objective.kind='diffusion'", "tokenizer.kind='character'"), "no token to hide others with"),
    ],
)
def test_what_does_not_fit_is_refused(changes: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=message):
        Trainer(recipe(tmp_path, *changes), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_holes_are_filled_and_the_rest_stays(tmp_path: Path) -> None:
    """`generate` begins with the first hole; what is pinned comes in its turn."""
    runs.train(recipe(tmp_path, *KINDS["diffusion"], "training.steps=12"), tmp_path / "run")
    lm = load(tmp_path / "run")
    mask = lm.tokenizer.spelling(lm.config.tokens.mask or 0)
    orders: tuple[Order, ...] = ("confidence", "ancestral")
    for order in orders:
        way = Way(denoising=Denoising(order=order))
        text = lm.generate(f"ab{mask}{mask}cd{mask}", max_tokens=0, sampling=Sampling(seed=1), way=way)
        events = [piece.event for piece in lm.stream(f"ab{mask}{mask}cd{mask}", max_tokens=0, way=way)]
        assert sorted(event.position for event in events if event) == [2, 3, 6]
        assert "cd" in text


def test_a_hybrid_says_what_its_autoregressive_half_says(tmp_path: Path) -> None:
    runs.train(recipe(tmp_path, *KINDS["hybrid"], "training.steps=40"), tmp_path / "run")
    lm = load(tmp_path / "run")
    texts = {lm.generate("The cat", max_tokens=9, way=Way(decoder=name)) for name in ("autoregressive", "hybrid", None)}  # type: ignore[arg-type]
    assert len(texts) == 1
    with pytest.raises(CutawayError, match="trained to predict 'hybrid'"):
        lm.generate("The cat", way=Way(decoder="diffusion"))
    with pytest.raises(CutawayError, match="settings for diffusion are given: denoising"):
        lm.generate("The cat", way=Way(denoising=Denoising()))
