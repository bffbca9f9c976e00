"""`recipes/stories-chat/prepare.py`: both data sets' own forms, turns that take turns, parts that fit, and what is held out."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from cutaway.data.dialogues import read_dialogues
from cutaway.data.sources import Source
from cutaway.train.recipe import load_recipe
from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "stories-chat"
prepare = script(RECIPE / "prepare.py")


def turns(number: int, num: int = 6) -> list[tuple[str, str]]:
    return [("SYSTEM" if place % 2 else "USER", f"Turn {place}  of {number}.") for place in range(num)]


def published(folder: Path) -> list[str]:
    """Small data in the published forms: folders of SGD, a packed file of Taskmaster."""
    for name in ("train", "dev"):
        (folder / name).mkdir(parents=True)
        for file in range(2):
            records = [
                {
                    "dialogue_id": f"{file}_{number}",
                    "turns": [{"speaker": who, "utterance": text, "frames": []} for who, text in turns(number)],
                }
                for number in range(30)
            ]
            (folder / name / f"dialogues_00{file}.json").write_text(json.dumps(records))
    (folder / "train" / "schema.json").write_text("[]")
    lines = [json.dumps({"id": f"dlg-{number}", "turns": turns(number, 4)}) for number in range(60)]
    (folder / "tm.jsonl.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    return [
        "--sgd",
        str(folder / "train"),
        "--sgd-dev",
        str(folder / "dev"),
        "--taskmaster",
        str(folder / "tm.jsonl.xz"),
    ]


def test_both_forms_are_read_and_some_dialogues_are_held_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare.main([*published(tmp_path), "--out", str(out)]) == 0
    sizes = {}
    for name in ("train", "sgd.heldout", "taskmaster.heldout"):
        found = list(read_dialogues(Source(files=str(out / f"{name}.jsonl"))))
        sizes[name] = len(found)
        for dialogue in found:
            roles = [message["role"] for message in dialogue.messages]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert dialogue.messages[0]["content"].startswith("Turn 0 of ")
    held_out = sum(prepare.digest(f"dlg-{number}") % prepare.EVERY["taskmaster"] == 0 for number in range(60))
    assert sizes["taskmaster.heldout"] == held_out > 0
    assert sizes["train"] == 60 + 60 - held_out
    dev = [f"{file}_{number}" for file in range(2) for number in range(30)]
    assert sizes["sgd.heldout"] == sum(prepare.digest(key) % prepare.EVERY["sgd"] == 0 for key in dev) > 0


def test_what_one_says_twice_is_one_turn_and_the_user_begins() -> None:
    said = [("assistant", "Hi."), ("user", "One."), ("user", "Two."), ("system", "Three."), ("assistant", "Four.")]
    assert prepare.merged(said) == [("user", "One. Two."), ("assistant", "Three. Four.")]


def test_long_dialogues_become_parts_that_begin_with_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST", 100)
    whole = [("assistant" if place % 2 else "user", f"{place:02}" + "x" * 23) for place in range(11)]
    parts = list(prepare.cut(whole))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert [turn for part in parts for turn in part] == whole[:10], "nobody answered the last"
    assert not list(prepare.cut([("user", "x" * 99), ("assistant", "yy")])), "too long"
    assert not list(prepare.cut([("user", "日本"), ("assistant", "yes")])), "odd"


def test_a_missing_source_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = published(tmp_path)
    (tmp_path / "tm.jsonl.xz").unlink()
    assert prepare.main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "tm.jsonl.xz does not exist" in capsys.readouterr().err


def test_the_recipe_goes_on_from_the_bundled_model() -> None:
    recipe = load_recipe(str(RECIPE / "stories-chat.toml"))
    assert recipe.base == "stories"
    assert recipe.dialogues is not None
