"""Runs of different objectives side by side: exact values and bounds, means over seeds, the picture, the recipes' script."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.train.curves import draw_runs
from cutaway.train.events import TrainEvent, read_events
from cutaway.train.recipe import load_recipe
from cutaway.train.summary import run_events, summarise
from tests.scripts import script
from tests.train import runs

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
RECIPES = Path(__file__).parents[2] / "recipes" / "paradigms"
NAMES = ("next", "diffusion", "block-4", "block-16", "hybrid")
OBJECTIVES = {
    "next": (),
    "diffusion": ("objective.kind='diffusion'",),
    "blocks": ("objective.kind='diffusion'", "objective.block_size=4"),
    "hybrid": ("objective.kind='hybrid'", "objective.block_size=4"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One short run of each objective, and a second seed of two of them."""
    folder = tmp_path_factory.mktemp("runs")
    plans = {**OBJECTIVES, "next-2": ("seed=2",), "diffusion-2": (*OBJECTIVES["diffusion"], "seed=2")}
    for name, changes in plans.items():
        recipe = runs.recipe(
            folder, "tokenizer.kind='byte'", "model.decoder.position.kind='rotary'", "training.steps=4",
            "training.evaluate_every=2", "training.sample_every=4", f"name='{name.removesuffix('-2')}'", *changes,
        )  # fmt: skip
        runs.train(recipe, folder / name)
    return {name: folder / name for name in plans}


def ask(capsys: Capture, *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["compare", *words]) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


def line_of(printed: str, name: str) -> str:
    return next(line for line in printed.splitlines() if line.strip().startswith(name))


def test_every_run_says_what_it_was_taught_and_what_its_losses_are(trained: dict[str, Path]) -> None:
    said = {
        "next": ("next token", "exact"),
        "diffusion": ("diffusion", "bound"),
        "blocks": ("diffusion in blocks of 4", "bound"),
        "hybrid": ("hybrid in blocks of 4", "exact"),
    }
    for name, (objective, estimate) in said.items():
        events = list(read_events(trained[name] / "events.jsonl"))
        assert (events[0].values["objective"], events[0].values["estimate"]) == (objective, estimate)
        held = [event.values for event in events if event.kind == "evaluate"]
        assert len(held) == 2
        assert [each["estimate"] for each in held] == [estimate] * 2
        assert all(("standard_error" in each) == (estimate == "bound") for each in held)
        found = summarise(trained[name], events)
        assert (found.objective, found.estimate, found.seed) == (objective, estimate, 1)
        assert found.standard_error == held[-1].get("standard_error")


def test_a_bound_of_one_draw_has_no_standard_error(tmp_path: Path) -> None:
    recipe = runs.recipe(
        tmp_path, "tokenizer.kind='byte'", "objective.kind='diffusion'", "objective.draws=1", "training.steps=1"
    )
    runs.train(recipe, tmp_path / "run")
    (held,) = [event.values for event in read_events(tmp_path / "run" / "events.jsonl") if event.kind == "evaluate"]
    assert held["estimate"] == "bound"
    assert "standard_error" not in held


def test_paradigms_stand_side_by_side(
    trained: dict[str, Path], capsys: Capture, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    paths = [str(trained[name]) for name in OBJECTIVES]
    printed = ask(capsys, *paths, "--plot", str(tmp_path / "a.png"))
    assert "diffusion in blocks of 4" in line_of(printed, "objective")
    estimates = line_of(printed, "estimate")
    error = summarise(trained["diffusion"], run_events(trained["diffusion"])).standard_error
    assert error is not None
    assert f"bound ± {error:.4f}" in estimates
    assert estimates.split().count("exact") == 2
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(ask(capsys, *paths, "--json"))
    assert [each["estimate"] for each in found["runs"]] == ["exact", "bound", "bound", "exact"]
    assert "groups" not in found


def test_seeds_of_one_recipe_are_one_column(
    trained: dict[str, Path], capsys: Capture, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("COLUMNS", "160")
    names = ("next", "next-2", "blocks", "diffusion", "diffusion-2")
    paths = [str(trained[name]) for name in names]
    printed = ask(capsys, *paths, "--by-seed", "--plot", str(tmp_path / "a.png"))
    assert printed.splitlines()[0].split() == ["next", "blocks", "diffusion"]
    assert line_of(printed, "seeds").split() == ["seeds", "1,", "2", "1", "1,", "2"]
    losses = [summarise(trained[name], run_events(trained[name])).held_out_loss or 0.0 for name in names]
    mean, error = (losses[0] + losses[1]) / 2, abs(losses[0] - losses[1]) / 2
    assert f"{mean:.4f} ± {error:.4f}" in line_of(printed, "held-out loss")
    assert f"{losses[2]:.4f}" in line_of(printed, "held-out loss")
    assert line_of(printed, "estimate").split() == ["estimate", "exact", "bound", "bound"]
    groups = json.loads(ask(capsys, *paths, "--by-seed", "--json"))["groups"]
    assert [each["seeds"] for each in groups] == [[1, 2], [1], [1, 2]]
    assert groups[0]["figures"]["held_out_loss"]["value"] == pytest.approx(mean)
    assert groups[1]["figures"]["held_out_loss"]["standard_error"] is None


def test_by_seed_is_for_runs(capsys: Capture, tmp_path: Path, trained: dict[str, Path]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    told = ask(capsys, str(tmp_path / "a"), str(tmp_path / "b"), "--by-seed", code=2)
    assert "--by-seed is for training runs" in told
    again = str(trained["next"])
    assert "are of one recipe and one seed, 1" in ask(capsys, again, again, "--by-seed", code=2)


def test_the_picture_tells_objectives_bounds_and_groups_apart(tmp_path: Path, monkeypatch: Patch) -> None:
    """What is drawn is asked of the axes, before they become a picture."""
    drawn = []
    keep = __import__("matplotlib.axes", fromlist=["Axes"]).Axes.legend
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda axes, **knobs: (drawn.append(axes), keep(axes, **knobs)))
    step = TrainEvent("step", 1, {"loss": 9.0})
    said = TrainEvent("step", 2, {"loss": 3.0, "bits_per_byte": 2.0})

    def events(objective: str, estimate: str) -> list[TrainEvent]:
        held = {"loss": 2.0, "estimate": estimate, **({"standard_error": 0.1} if estimate == "bound" else {})}
        return [
            TrainEvent("start", 0, {"objective": objective}),
            step if objective == "hybrid" else said,
            TrainEvent("evaluate", 2, held),
        ]

    read = {
        "n1": events("next token", "exact"), "n2": events("next token", "exact"), "h": events("hybrid", "exact"),
        "d1": events("diffusion", "bound"), "d2": events("diffusion", "bound"),
    }  # fmt: skip
    draw_runs(read, tmp_path / "a.png", groups={"n1": "next", "n2": "next", "h": "hybrid", "d1": "d1", "d2": "d2"})
    (axes,) = drawn
    assert axes.get_legend_handles_labels()[1] == ["next", "hybrid", "d1 (bound)", "d2 (bound)"]
    held = [bar.lines[0] for bar in axes.containers]
    colours = [line.get_color() for line in held]
    assert colours[0] == colours[1] != colours[2]
    assert colours[3] == colours[4] not in colours[:3]
    assert held[0].get_linestyle() == held[1].get_linestyle()
    assert held[3].get_linestyle() != held[4].get_linestyle()
    assert [line.get_marker() for line in held] == ["o", "o", "o", "v", "v"]
    thin = [line for line in axes.lines if line.get_alpha() == 0.45 and len(line.get_xdata())]
    assert len(thin) == 4, "the hybrid's training loss is no loss of the text"
    assert [text.get_text() for text in axes.texts] == ["2.000"] * 4, "one for each group"
    heights = [text.xy[1] for text in axes.texts]
    low, high = axes.get_ylim()
    assert all((after - before) / (high - low) > 0.04 for before, after in pairwise(heights)), "none over another"


def test_the_recipes_differ_in_the_objective_alone() -> None:
    read = {name: tomllib.loads((RECIPES / f"paradigm-{name}.toml").read_text("utf-8")) for name in NAMES}
    apart = ("name", "description", "objective")
    shared = [{key: value for key, value in each.items() if key not in apart} for each in read.values()]
    assert all(each == shared[0] for each in shared)
    assert {name: each["objective"] for name, each in read.items()} == {
        "next": {"kind": "next"},
        "diffusion": {"kind": "diffusion"},
        "block-4": {"kind": "diffusion", "block_size": 4},
        "block-16": {"kind": "diffusion", "block_size": 16},
        "hybrid": {"kind": "hybrid", "block_size": 8},
    }
    for name in NAMES:
        recipe = load_recipe(str(RECIPES / f"paradigm-{name}.toml"))
        assert recipe.objective.block_size is None or recipe.model is not None
        assert recipe.model is not None
        assert recipe.model.context % (recipe.objective.block_size or 1) == 0


def test_the_script_makes_the_tables_of_any_runs(trained: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    measure = script(RECIPES / "measure.py")
    (tmp_path / "texts.txt").write_text("The cat saw the dog.", "utf-8")
    words = [
        "--texts",
        str(tmp_path / "texts.txt"),
        "--out",
        str(tmp_path / "a.json"),
        "--max-tokens",
        "8",
        "--prompt",
        "The ",
    ]
    assert measure.main([*map(str, trained.values()), *words]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| autoregressive |") == 2
    assert "| hybrid, one pass a round |" in printed
    found = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert [len(each["seeds"]) for each in found["groups"]] == [2, 2, 1, 1]
    rows = {(row["run"], row["decoder"]): row for row in found["decoded"]}
    assert len(rows) == 2 + 2 * 2 + 2 + 3
    alone, single = rows["next", "autoregressive"], rows["diffusion", "diffusion, one token a pass"]
    assert alone["tokens_per_pass"] == single["tokens_per_pass"] == 1
    assert rows["hybrid", "hybrid, one pass a round"]["tokens_per_pass"] >= 1
    assert single["bytes_per_token"] > alone["bytes_per_token"] > 4 * alone["parameters"] * 0.5
    assert all(row["sample"].startswith("The ") for row in found["decoded"] if row["decoder"] != "autoregressive")
    assert measure.main([str(tmp_path / "none"), *words]) == 2


def test_the_script_fills_holes_of_any_runs(
    trained: dict[str, Path], tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    infill = script(RECIPES / "infill.py")
    (tmp_path / "texts.txt").write_text("The cat saw the dog, and came. " * 2, "utf-8")
    monkeypatch.setattr(infill, "LENGTHS", (1, 4))
    words = ["--texts", str(tmp_path / "texts.txt"), "--passages", "3", "--length", "16"]
    assert infill.main([*map(str, trained.values()), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| run | 1 hidden | 4 hidden |"
    assert [line.split()[1] for line in lines[2:]] == list(trained)
    assert infill.main([str(trained["next"]), *words[:-1], "99"]) == 2
    assert "gives 0 passages" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        infill.main([str(trained["next"]), *words[:-1], "4"])
    assert ended.value.code == 2
    assert "the longest hole has 4 tokens" in capsys.readouterr().err


def test_the_script_knows_what_a_text_costs_in_an_order(
    trained: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    """Of one order, the mean over orders is that order; the next token's is what it says of each after those before it."""
    orders = script(RECIPES / "orders.py")
    (tmp_path / "texts.txt").write_text("The cat saw the dog, and came. " * 2, "utf-8")
    words = ["--texts", str(tmp_path / "texts.txt"), "--passages", "2", "--length", "12"]
    assert orders.main([*map(str, trained.values()), *words]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[0] for line in lines] == ["next", "diffusion", "blocks", "hybrid"]
    for name, left, mean, best in lines:
        assert (left == mean == best) == (name in ("next", "hybrid"))
        assert float(best.split()[0]) <= float(mean.split()[0])
    assert orders.main([str(trained["next"]), *words[:-1], "99"]) == 2
    lm, ids = orders.load(trained["blocks"]), list(range(60, 72))
    assert orders.shuffled(lm, 12, 1) != orders.shuffled(lm, 12, 2)
    assert [place // 4 for place in orders.shuffled(lm, 12, 1)] == [0] * 3 + [1] * 4 + [2] * 4
    (left, mean, best), wanted = orders.nats(lm, ids, 1, 7), orders.shuffled(lm, 12, 7)
    assert mean == pytest.approx(orders.nats_in_order(lm.model, ids, wanted))
    assert best == pytest.approx(mean)
    assert left != mean
    plain = orders.load(trained["next"])
    said = [float(plain.logits(ids[:end])[0, -1].double().log_softmax(-1)[ids[end]]) for end in range(1, len(ids))]
    assert orders.nats(plain, ids, 1, 7)[0] == pytest.approx(-sum(said), rel=1e-5)
    for name, word in ("orders", "0"), ("passages", "0"), ("length", "1"), ("length", "x"):
        with pytest.raises(SystemExit) as ended:
            orders.main([str(trained["next"]), *words, f"--{name}", word])
        assert ended.value.code == 2
        assert f"argument --{name}: it is" in capsys.readouterr().err


def test_a_hole_of_the_text_itself_is_right(trained: dict[str, Path]) -> None:
    """What a decoder says is compared with what stood at its place."""
    from cutaway.lm import load

    infill = script(RECIPES / "infill.py")
    lm = load(trained["next"])
    text = lm.tokenizer.encode("The cat saw the ")
    said = [piece.event.new for piece in lm.stream(text[:6], max_tokens=4) if piece.event is not None]
    whole = [*text[:6], *[token for token in said if token is not None], *text[:6]]
    assert infill.right(lm, [whole], 4) == 1.0
    whole[7] = (whole[7] + 1) % lm.config.vocab_size
    assert infill.right(lm, [whole], 4) < 1.0
