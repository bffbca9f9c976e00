"""`cutaway lessons`, run in this process: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cutaway import lessons
from cutaway.apps.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, code: int = 0) -> str:
        assert main(["lessons", *words]) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    return run


def test_alone_it_lists_them(run: Any) -> None:
    printed = run()
    assert all(title in printed for title in (each.title for each in lessons.entries()))
    listed = json.loads(run("--json"))
    assert [each["name"] for each in listed] == lessons.names()


def test_the_list_says_which_lessons_do_not_suit_a_model(run: Any) -> None:
    printed = " ".join(run("--model", "translate-de-en").split())
    assert "not on translate-de-en: This lesson is about one stack" in printed
    assert printed.count("not on translate-de-en") == 8
    assert "Type next: cutaway lessons token --model translate-de-en" in printed
    listed = {each["name"]: each["refusal"] for each in json.loads(run("--model", "translate-de-en", "--json"))}
    assert listed["stacks"] is None
    assert "is none. Take --model stories." in listed["choosing"]
    assert "not on" not in run()


def test_a_lesson_is_read_with_its_settings(run: Any, tmp_path: Path) -> None:
    found = json.loads(run("order", "positions=on", "sight=before", "--json"))
    assert {each["name"]: each["value"] for each in found["settings"]} == {
        "words": "I love you",
        "sight": "before",
        "positions": "on",
    }
    target = tmp_path / "order.html"
    printed = run("--html", str(target), "order", "words=you love I")
    assert "needs no network" in printed
    assert "“you love I” and “I love you”" in " ".join(target.read_text("utf-8").split())
    assert "What does order mean to a transformer?" in run("order")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ordr"], "There is no lesson 'ordr'. Did you mean 'order'?"),
        (["order", "position=on"], "This lesson has no setting 'position'. Did you mean 'positions'?"),
        (["order", "on"], "'on' is no setting. Write its name and its value: positions=on."),
        (["order", "words=I love crocodiles"], "this lesson needs words that are one"),
        (["order", "--model", "translate-de-en"], "has an encoder and a decoder. Take --model stories."),
        (["--model", "no-such-model"], "There is no model 'no-such-model'"),
        (["stacks", "--model", "stories"], "Take --model translate-de-en."),
        (["order", "--model", "no-such-model"], "There is no model 'no-such-model'"),
        (["--html", "x.html"], "--html writes one lesson."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Any, words: list[str], said: str) -> None:
    error = run(*words, code=2)
    assert error.startswith("cutaway lessons: ")
    assert said in error
    assert error.count("\n") == 1
