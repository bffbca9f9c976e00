"""The recipes for SciTLDR: no abstract stands in two parts, and nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "scitldr"


def prepare() -> ModuleType:
    """The script of the recipes."""
    return script(RECIPE / "prepare.py")


def paper(number: int, *targets: str) -> dict[str, Any]:
    return {
        "source": [f"We study {number}  cats.", "They\nsit."],
        "target": [*targets] or [f"It is {number}."],
        "title": "",
    }


def write(folder: Path, **parts: list[dict[str, Any]]) -> None:
    for name, papers in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in papers))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_papers_are_split_and_none_stands_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = paper(3) | {"source": ["we study 3 cats they sit"]}
    empty = paper(999) | {"source": [" "]}
    write(tmp_path, train=[*map(paper, range(200)), again, empty], dev=[paper(7), paper(1000, "One.", "Two.")])
    assert prepare().main(["--folder", str(tmp_path), "--out", str(tmp_path / "out"), "--any-version"]) == 0
    train, valid, test = (read(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "valid", "test"))
    assert test[1] == {"source": ["We study 1000 cats.", "They sit."], "target": ["One.", "Two."]}
    numbers = [[int(each["source"].split()[2]) for each in part] for part in (train, valid)]
    assert sorted(numbers[0] + numbers[1]) == [number for number in range(200) if number != 7]
    assert 3 <= len(valid) <= 20
    assert train[0].keys() == {"source", "target"}
    assert "train: " in capsys.readouterr().out


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare().main(["--folder", str(tmp_path)]) == 2
    assert "train.jsonl does not exist" in capsys.readouterr().err
    write(tmp_path, train=[paper(1)], dev=[paper(2)])
    assert prepare().main(["--folder", str(tmp_path)]) == 2
    assert "has the checksum" in capsys.readouterr().err
