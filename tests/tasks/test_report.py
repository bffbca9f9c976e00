"""Reports: what they hold, the same after reading, and one message for every file that is damaged or something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import CutawayError
from cutaway.tasks.metrics import Example
from cutaway.tasks.report import Report, make_report
from cutaway.tasks.resample import interval
from tests.tasks.samples import examples, report

Tree = dict[str, Any]


def test_a_report_holds_what_was_measured(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert [score.metric for score in found.scores] == ["bleu", "exact_match", "f1"]
    assert (found.task, found.model, found.seconds, found.num_examples) == ("translate", "tiny", 2.5, 30)
    assert found.data[0].name == "pairs.tsv"
    assert found.data[0].sha256 == sha256(b"pairs\n").hexdigest()
    for score in found.scores:
        assert 0 < score.low < score.value < score.high < 100
        assert (score.low, score.high) == interval(score.formula, score.rows)


def test_it_is_the_same_after_reading(tmp_path: Path) -> None:
    found = report(tmp_path, metric=("bleu", "chrf", "rouge", "squad", "accuracy"))
    found.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == found
    held = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert held["best"] == found.best()
    assert held["num_examples"] == 30


def test_the_best_examples_are_those_with_the_largest_value(tmp_path: Path) -> None:
    found = report(tmp_path, metric="squad")
    values = found.scores[0].rows[:, 0].tolist()
    assert found.ranked() == sorted(range(30), key=lambda index: (-values[index], index))
    assert found.best(2) == found.ranked()[:2]
    assert found.worst(2) == [found.ranked()[-1], found.ranked()[-2]]


def test_tuples_are_examples_too(tmp_path: Path) -> None:
    data = tmp_path / "a"
    data.touch()
    given = [("s", "p", ["p", "q"]), Example(source="t", prediction="", references=("r",))]
    found = make_report(task="t", model="m", data=[data, data], examples=given, metric="accuracy")
    assert found.examples[0] == Example(source="s", prediction="p", references=("p", "q"))
    assert found.scores[0].value == 50
    assert len(found.data) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"examples": []}, "There is no example to measure 'answer' on"),
        ({"examples": [("s", "p", ["r"]), ("s", "p", [])]}, "Example 2 has no reference, and 'bleu' needs one"),
        ({"examples": [("s", "p", "abc")]}, "are the text 'abc'. Give a list"),
        ({"examples": [("s", "\ud800", ["r"])]}, "lone surrogate"),
        ({"metric": "bleo"}, "Did you mean 'bleu'"),
        ({"data": Path("nowhere.tsv")}, "The data file nowhere.tsv cannot be read: No such file"),
    ],
)
def test_what_cannot_be_measured_is_refused(given: Tree, message: str, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    usual: Tree = {"data": tmp_path / "data", "examples": examples(2), "metric": "bleu"}
    with pytest.raises(CutawayError) as caught:
        make_report(task="answer", model="m", **{**usual, **given})
    assert message in str(caught.value)


def test_a_question_without_an_answer_needs_no_reference(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    given = [("q", "", []), ("q", "cat", [])]
    found = make_report(task="answer", model="m", data=tmp_path / "data", examples=given, metric="squad")
    assert found.score("f1").value == 50
    with pytest.raises(CutawayError, match=r"has no 'exact_matches'\. Did you mean 'exact_match'"):
        found.score("exact_matches")


def changed(change: Callable[[Tree], object]) -> Callable[[bytes], bytes]:
    """A damage that changes what the JSON says."""

    def damage(content: bytes) -> bytes:
        tree = json.loads(content)
        change(tree)
        return json.dumps(tree).encode()

    return damage


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda content: content[:-20], "it is not JSON"),
    "empty": (lambda _: b"", "it is not JSON"),
    "binary": (lambda _: b"\x89PNG\r\n\x1a\n\x00", "it is not JSON"),
    "deep": (lambda _: b"[" * 100_000, "it is not JSON"),
    "a list": (lambda _: b"[1, 2]", "it holds no table"),
    "another table": (lambda _: b'{"loss": 1.5}', "its format is None"),
    "a later format": (changed(lambda tree: tree.update(format="cutaway report 2")), "'cutaway report 2', and not"),
    "no model": (changed(lambda tree: tree.pop("model")), "Key 'model' is missing"),
    "an unknown key": (changed(lambda tree: tree.update(modle="x")), "Unknown key 'modle'. Did you mean 'model'"),
    "a wrong type": (changed(lambda tree: tree.update(seconds="long")), "'seconds' is 'long'"),
    "another value": (changed(lambda tree: tree["scores"][0].update(value=99.0)), "'bleu' is 99.0 in it"),
    "an unknown metric": (changed(lambda tree: tree["scores"][0].update(metric="blue")), "Did you mean 'bleu'"),
    "a metric twice": (changed(lambda tree: tree["scores"].append(tree["scores"][0])), "stands in it twice"),
    "no scores": (changed(lambda tree: tree.update(scores=[])), "no examples or no scores"),
    "a lost row": (changed(lambda tree: tree["scores"][0]["statistics"].pop()), "'bleu' has 29 rows for 30 examples"),
    "a lost number": (changed(lambda tree: tree["scores"][0]["statistics"][3].pop()), "have the wrong width"),
    "a lost example": (changed(lambda tree: tree["examples"].pop()), "has 30 rows for 29 examples"),
    "a changed statistic": (
        changed(lambda tree: tree["scores"][1]["statistics"][0].__setitem__(0, 0.5)),
        "'exact_match' is",
    ),
    "another count": (changed(lambda tree: tree.update(num_examples=3)), "its counts do not belong"),
    "other best ones": (changed(lambda tree: tree.update(best=[0])), "its counts do not belong"),
    "an interval turned round": (changed(lambda tree: tree["scores"][0].update(low=99)), "ends before it begins"),
    "not a number": (lambda content: content.replace(b"2.5", b"NaN"), "it holds the number NaN"),
    "infinite seconds": (lambda content: content.replace(b"2.5", b"1e999"), "its seconds are inf"),
    "a huge number": (lambda content: content.replace(b"2.5", b"1" + b"0" * 400), "no whole report"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_report_is_one_message(name: str, tmp_path: Path) -> None:
    file, (damage, message) = tmp_path / "report.json", DAMAGES[name]
    report(tmp_path).save(file)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    with pytest.raises(CutawayError) as caught:
        Report.load(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_report_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="does not exist"):
        Report.load(tmp_path / "report.json")
    with pytest.raises(CutawayError, match="cannot be read: Is a directory"):
        Report.load(tmp_path)
