"""`recipes/babi/prepare.py`: stories stay whole, the last ones are held out, and a task without training file is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.data import QuestionSource, read_questions
from cutaway.train.recipe import load_recipe
from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "babi"
prepare = script(RECIPE / "prepare.py")


def write(folder: Path, *, tasks: tuple[int, ...] = (1, 12), test_only: tuple[int, ...] = (3,)) -> Path:
    for number in (*tasks, *test_only):
        stories = [f"1 Ann{index} came.\n2 Who came? \tAnn{index}\t1\n3 Bob left.\n" for index in range(100)]
        (folder / f"qa{number}_a-task_test.txt").write_text("".join(stories[:7]))
        if number in tasks:
            (folder / f"qa{number}_a-task_train.txt").write_text("".join(stories))
    return folder


def test_stories_stay_whole_and_the_last_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert prepare.main(["--tasks", str(write(tmp_path)), "--out", str(out), "--any-version"]) == 0
    for name, wanted in (("train", range(98)), ("valid", range(98, 100)), ("test", range(7))):
        assert sorted(path.name for path in (out / name).iterdir()) == ["qa01.txt", "qa12.txt"]
        for path in (out / name).iterdir():
            found = list(read_questions(QuestionSource(files=str(path))))
            assert [question.context for question in found] == [f"Ann{index} came." for index in wanted]
    assert "task 12: 98 to train, 2 to valid, 7 to test" in capsys.readouterr().out


def test_other_files_are_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert prepare.main(["--tasks", str(write(tmp_path)), "--out", str(out)]) == 2
    assert "qa1_a-task_train.txt, qa1_a-task_test.txt" in capsys.readouterr().err
    assert prepare.main(["--tasks", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "holds no file qa*_train.txt" in capsys.readouterr().err
    assert not out.exists()


def test_the_recipe_has_layers_of_its_own_and_holds_every_task_out() -> None:
    recipe = load_recipe(str(RECIPE / "babi.toml"))
    assert recipe.writes_answers
    assert recipe.model is not None
    assert recipe.model.decoder.num_distinct == 6
    shared = load_recipe(str(RECIPE / "babi.toml"), ["model.decoder.num_shared=1"])
    assert shared.model is not None
    assert shared.model.decoder.num_distinct == 1
    assert recipe.questions is not None
    assert len(recipe.questions.validation) == 19
    assert len((RECIPE / "files.tsv").read_text().splitlines()) == 39
