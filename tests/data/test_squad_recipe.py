"""`recipes/squad-minilm/prepare.py`: articles stay whole, each in one file, and what comes out is read by our reader."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from cutaway.data import QuestionSource, read_questions
from tests import asked
from tests.scripts import script

SCRIPT = Path(__file__).parents[2] / "recipes" / "squad-minilm" / "prepare.py"


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    return script(SCRIPT)


def six(folder: Path) -> Path:
    """Six articles, each with the questions of the first."""
    article = asked.squad()["data"][0]
    articles = []
    for number in range(6):
        copied = json.loads(json.dumps(article))
        for paragraph in copied["paragraphs"]:
            for question in paragraph["qas"]:
                question["id"] += f" {number}"
        articles.append({**copied, "title": f"Mill {number}"})
    (folder / "all.json").write_text(json.dumps({"data": articles}))
    return folder / "all.json"


def test_articles_are_held_out_whole(prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--questions", str(six(tmp_path)), "--out", str(tmp_path / "data"), "--any-version"]
    assert prepare.main(words) == 0
    printed = capsys.readouterr().out
    titles = {
        name: [article["title"] for article in json.loads((tmp_path / "data" / f"{name}.json").read_text())["data"]]
        for name in ("train", "valid", "test")
    }
    assert {name: len(found) for name, found in titles.items()} == {"train": 2, "valid": 2, "test": 2}
    assert sorted(title for found in titles.values() for title in found) == [f"Mill {number}" for number in range(6)]
    for name in titles:
        source = QuestionSource(files=f"{name}.json", folder=tmp_path / "data")
        assert len(list(read_questions(source))) == 18
        assert f"{name}: 18 questions, 4 of them without an answer" in printed


def test_another_file_is_refused(prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["--questions", str(six(tmp_path)), "--out", str(tmp_path / "data")]) == 2
    assert "--any-version" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
