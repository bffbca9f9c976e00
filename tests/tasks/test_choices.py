"""Questions with choices: the likeliest is chosen, right ones are counted, and what is no question is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.tasks.choices import evaluate_choices
from cutaway.tasks.score import likelihoods

QUESTIONS = [
    {"context": "Once upon a", "choices": ["time", "moon"], "answer": 0},
    {"context": "The little girl was very", "choices": ["happy", "of"], "answer": 1},
    {"context": "The dog", "choices": ["ran", "ran ran ran"], "answer": 0},
]


def write(folder: Path, *records: object) -> Path:
    (folder / "q.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return folder / "q.jsonl"


def test_the_likeliest_choice_is_the_answer(tmp_path: Path) -> None:
    lm = load("stories")
    report = evaluate_choices(lm, write(tmp_path, *QUESTIONS))
    for example, question in zip(report.examples, QUESTIONS, strict=True):
        pairs = [(str(question["context"]), f" {choice}") for choice in question["choices"]]  # type: ignore[attr-defined]
        found = [likelihood.log_p for likelihood in likelihoods(lm, pairs)]
        assert example.prediction == question["choices"][found.index(max(found))]  # type: ignore[index]
    assert [example.prediction for example in report.examples] == ["time", "happy", "ran"]
    assert report.score("accuracy").value == pytest.approx(200 / 3)


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, kept = str(write(tmp_path, *QUESTIONS)), tmp_path / "report.json"
    assert main(["evaluate", "stories", file, "--task", "choices", "--json", "--report", str(kept)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["scores"]["accuracy"]["value"] == pytest.approx(200 / 3)
    assert main(["compare", str(kept), str(kept)]) == 0
    assert "accuracy" in capsys.readouterr().out


MISTAKES = {
    "no choices": ({"context": "x", "choices": [], "answer": 0}, "q.jsonl:1: 'choices' is"),
    "an empty choice": ({"context": "x", "choices": [""], "answer": 0}, "q.jsonl:1: 'choices' is"),
    "an answer beyond": (
        {"context": "x", "choices": ["a"], "answer": 1},
        "'answer' is 1. It takes a number from 0 to 0",
    ),
    "an answer in words": ({"context": "x", "choices": ["a"], "answer": "a"}, "'answer' is 'a'"),
    "no text": ({"context": 1, "choices": ["a"], "answer": 0}, "'context' is 1"),
    "a missing field": ({"context": "x", "choice": ["a"], "answer": 0}, "has no field 'choices'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_no_question_is_named(case: str, tmp_path: Path) -> None:
    record, message = MISTAKES[case]
    with pytest.raises(CutawayError, match=message):
        evaluate_choices(load("stories"), write(tmp_path, record))


def test_an_empty_file_and_an_unknown_way(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="There is no question"):
        evaluate_choices(load("stories"), write(tmp_path))
    with pytest.raises(CutawayError, match="no normalisation 'byte'"):
        evaluate_choices(load("stories"), write(tmp_path, *QUESTIONS), normalise="byte")  # type: ignore[arg-type]
