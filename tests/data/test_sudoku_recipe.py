"""`recipes/sudoku`: puzzles have one solution, parts share none, the recipes differ in their objective, any model is measured."""

from __future__ import annotations

import itertools
import json
import random
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.train.loop import Trainer
from cutaway.train.recipe import load_recipe
from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "sudoku"
puzzles = script(RECIPE / "puzzles.py")
TINY = (
    "model.decoder.num_layers=1", "model.decoder.d_model=16", "model.decoder.feedforward.d_hidden=16", "training.steps=3",
    "training.batch_size=2", "training.save_every=3", "training.sample_every=3", "training.evaluate_every=3",
    "training.threads=1", "sample.max_tokens=4",
)  # fmt: skip


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    return script(RECIPE / "prepare.py")


def make(prepare: ModuleType, out: Path, *words: str) -> dict[str, list[dict[str, str]]]:
    sizes = ["--train", "3", "--valid", "2", "--test", "3", "--hard", "2", "--hard-givens", "28", "30"]
    assert prepare.main(["--out", str(out), *sizes, *words]) == 0
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in sorted(out.glob("*.jsonl"))
    }


def by_trying(grid: list[int]) -> set[tuple[int, ...]]:
    """The slow twin: every way to fill the empty cells, of which the whole grids with all digits in each unit are kept."""
    empty = [cell for cell, digit in enumerate(grid) if not digit]
    found = set()
    for digits in itertools.product(range(1, 10), repeat=len(empty)):
        filled = list(grid)
        for cell, digit in zip(empty, digits, strict=True):
            filled[cell] = digit
        if is_whole(filled):
            found.add(tuple(filled))
    return found


def is_whole(grid: list[int]) -> bool:
    """Whether each of the 27 units has nine digits, the units written out once more."""
    rows = [grid[9 * row : 9 * row + 9] for row in range(9)]
    boxes = [[rows[3 * (box // 3) + i // 3][3 * (box % 3) + i % 3] for i in range(9)] for box in range(9)]
    return all(len(set(unit)) == 9 for unit in (*rows, *zip(*rows, strict=True), *boxes))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), cells=st.sets(st.integers(0, 80), min_size=1, max_size=3))
def test_the_solver_finds_what_trying_everything_finds(seed: int, cells: set[int]) -> None:
    whole = next(puzzles.solutions([0] * 81, random.Random(seed)))
    assert is_whole(list(whole))
    grid = [0 if cell in cells else digit for cell, digit in enumerate(whole)]
    assert set(puzzles.solutions(grid)) == by_trying(grid) == {whole}


def test_the_solver_finds_every_solution_of_a_grid_with_several() -> None:
    """Two digits that stand crosswise in two rows of a band can change places: both grids, and no other, are found."""
    grid, pairs = rectangle()
    found = list(puzzles.solutions(grid))
    assert set(found) == by_trying(grid)
    assert len(found) == len(set(found)) == 2
    assert not puzzles.is_unique(grid)
    assert puzzles.is_unique([found[0][cell] if cell == pairs[0] else digit for cell, digit in enumerate(grid)])


def rectangle() -> tuple[list[int], list[int]]:
    """A grid without four cells, of two rows of one band and two columns, that hold two digits crosswise; and the cells."""
    for seed in range(200):
        whole = next(puzzles.solutions([0] * 81, random.Random(seed)))
        for row, one, other in itertools.product((0, 3, 6), range(9), range(9)):
            corners = [9 * row + one, 9 * row + other, 9 * row + 9 + one, 9 * row + 9 + other]
            a, b, c, d = (whole[cell] for cell in corners)
            if one < other and (a, b) == (d, c):
                return [0 if cell in corners else digit for cell, digit in enumerate(whole)], corners
    raise AssertionError("no grid has such a rectangle")


def test_what_has_no_solution_has_none_and_what_is_no_grid_is_refused() -> None:
    assert list(puzzles.solutions([5, 5] + [0] * 79)) == []
    assert not puzzles.is_unique([5, 5] + [0] * 79)
    for grid in ([0] * 80, [10] + [0] * 80):
        with pytest.raises(ValueError, match="A grid has 81 digits from 0 to 9"):
            next(puzzles.solutions(grid))
    for number in (16, 82):
        with pytest.raises(ValueError, match=f"num_givens is {number}. A puzzle has 17 to 81"):
            puzzles.puzzle(random.Random(0), number)


@pytest.mark.parametrize("num_givens", [26, 32, 45, 81])
def test_a_puzzle_has_its_givens_and_one_solution(num_givens: int) -> None:
    grid, solution = puzzles.puzzle(random.Random(num_givens), num_givens)
    assert 81 - grid.count(0) == num_givens
    assert list(puzzles.solutions(grid)) == [solution]
    assert puzzles.is_solution(solution, grid)
    assert is_whole(list(solution))
    assert not puzzles.is_solution((*solution[1:], solution[0]), grid)
    assert puzzles.puzzle(random.Random(num_givens), num_givens) == (grid, solution)
    assert puzzles.puzzle(random.Random(num_givens + 1), num_givens)[1] != solution


def test_parts_depend_on_the_seed_and_on_nothing_else(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(prepare, tmp_path / "one")
    assert "train: 15 puzzles, " in capsys.readouterr().out
    assert {name: len(part) for name, part in made.items()} == {"hard": 2, "test": 3, "train": 15, "valid": 2}
    again = make(prepare, tmp_path / "two", "--train", "1", "--twins", "1")
    assert again["train"] == made["train"][:1]
    assert {name: again[name] for name in ("valid", "test", "hard")} == {
        name: made[name] for name in ("valid", "test", "hard")
    }
    assert make(prepare, tmp_path / "three", "--seed", "2")["test"] != made["test"]


def test_every_text_is_a_puzzle_with_its_only_solution_and_none_stands_in_two_parts(
    prepare: ModuleType, tmp_path: Path
) -> None:
    made = make(prepare, tmp_path)
    for name, part in made.items():
        for each in part:
            grid, solution = (side.replace(".", "0") for side in each["text"].split(">"))
            assert ["".join(map(str, found)) for found in puzzles.solutions([int(cell) for cell in grid])] == [solution]
            least, most = (28, 30) if name == "hard" else (30, 50)
            assert least <= int(each["givens"]) == 81 - grid.count("0") <= most
    texts = [each["text"] for part in made.values() for each in part]
    assert len(set(texts)) == len(texts)
    twins = [each["givens"] for each in made["train"][:5]]
    assert len(set(twins)) == 1


def test_a_puzzle_in_two_parts_ends_the_run(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = puzzles.puzzle(random.Random(1), 40)
    other = (puzzles.puzzle(random.Random(2), 40)[0], pair[1])
    assert prepare.known_twice({"train": [pair], "valid": [], "test": [pair], "hard": []}).startswith(
        "1 of the puzzles"
    )
    assert "solutions of hard.jsonl stand in train" in prepare.known_twice(
        {"train": [pair], "valid": [], "test": [], "hard": [other]}
    )
    monkeypatch.setattr(prepare, "part", lambda *_: [pair])
    assert prepare.main(["--out", str(tmp_path / "out")]) == 2
    assert "Use another --seed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_impossible_numbers_are_refused(
    prepare: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (["--train", "0"], ["--givens", "40", "30"]):
        with pytest.raises(SystemExit):
            prepare.main(words)
    assert "LEAST must not be above MOST" in capsys.readouterr().err
    assert prepare.main(["--out", str(tmp_path), "--givens", "5", "6"]) == 2
    assert "A puzzle has 17 to 81" in capsys.readouterr().err


def test_the_recipes_differ_in_the_objective_alone() -> None:
    read = [tomllib.loads((RECIPE / f"sudoku-{name}.toml").read_text("utf-8")) for name in ("next", "diffusion")]
    apart = ("name", "description", "objective")
    one, other = ({key: value for key, value in each.items() if key not in apart} for each in read)
    assert one == other
    assert [each["objective"] for each in read] == [{"kind": "next"}, {"kind": "diffusion"}]


def test_both_recipes_train_and_are_measured(
    prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    make(prepare, data)
    for name in ("next", "diffusion"):
        (tmp_path / f"{name}.toml").write_text((RECIPE / f"sudoku-{name}.toml").read_text("utf-8"), "utf-8")
        events = list(Trainer(load_recipe(str(tmp_path / f"{name}.toml"), TINY), tmp_path / name).run())
        (evaluation,) = [event.values for event in events if event.kind == "evaluate"]
        assert evaluation["tokens"] == 2 * (82 if name == "next" else 81)  # the end of the text is never hidden
    measure = script(RECIPE / "measure.py")
    capsys.readouterr()
    runs = [str(tmp_path / name) for name in ("next", "diffusion")]
    assert measure.main([*runs, "--data", str(data / "test.jsonl"), "--limit", "2", "--passes", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| run | order | passes | test: solved, % | test: cells, % |"
    orders = [line.split(" | ")[1:3] for line in lines[2:]]
    assert orders == [
        ["left to right", "81"],
        *([name, passes] for passes in ("81", "3") for name in ("random", "confidence", "margin", "entropy")),
    ]
    rows = json.loads((tmp_path / "next" / "sudoku.json").read_text())
    assert [row["passes"] for row in rows] == [81] * 5 + [3] * 4
    assert (tmp_path / "diffusion" / "report-test-margin-3.json").is_file()


def test_a_file_of_other_texts_is_refused(tmp_path: Path) -> None:
    measure = script(RECIPE / "measure.py")
    (tmp_path / "a.jsonl").write_text('{"text": "no puzzle"}\n')
    with pytest.raises(measure.CutawayError, match=r"a.jsonl:1 is no puzzle"):
        list(measure.read(tmp_path / "a.jsonl", 3))
