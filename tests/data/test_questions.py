"""Questions from files in SQuAD's form: exactly what is there, in order; one message with file and place for what is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cutaway.data import Question, QuestionSource, read_questions
from cutaway.errors import CutawayError
from tests import asked


def read(*files: str, folder: Path) -> list[Question]:
    return list(read_questions(QuestionSource(files=files, folder=folder)))


def test_every_question_is_read_in_order(tmp_path: Path) -> None:
    asked.write(tmp_path)
    found = read("asked.json", folder=tmp_path)
    assert [replace(each, place="the question") for each in found] == asked.questions()
    assert found[-1].place == f"{tmp_path}/asked.json, data[1].paragraphs[0].qas[2]"
    assert found[0].context is found[1].context, "a paragraph is cut into tokens once"


def test_the_older_form_says_nothing_of_impossible_questions(tmp_path: Path) -> None:
    def older(content: Any) -> None:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                paragraph["qas"] = [question for question in paragraph["qas"] if question["answers"]]
                for question in paragraph["qas"]:
                    del question["is_impossible"]

    asked.write(tmp_path, change=older)
    assert len(read("asked.json", folder=tmp_path)) == 9


def test_several_files_packed_or_not(tmp_path: Path) -> None:
    path = asked.write(tmp_path, "a.json")

    def renamed(content: Any) -> None:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    question["id"] += " again"
                    question["question"] = f"  {question['question']}\n"

    other = asked.write(tmp_path, "b.json", renamed)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(other.read_bytes()))
    other.unlink()
    found = read(path.name, "b.json.gz", folder=tmp_path)
    assert [each.text for each in found] == [each.text for each in asked.questions()] * 2


def at(content: Any, *places: Any) -> Any:
    for place in places:
        content = content[place]
    return content


QAS = ("data", 0, "paragraphs", 0, "qas", 0)
WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "no data": (lambda c: c.pop("data"), r"asked.json has no field 'data'"),
    "no paragraphs": (lambda c: at(c, "data", 1).pop("paragraphs"), r"json, data\[1\] has no field 'paragraphs'"),
    "no context": (
        lambda c: at(c, "data", 0, "paragraphs", 1).pop("context"),
        r"json, data\[0\].paragraphs\[1\] has no field 'context'",
    ),
    "no question": (lambda c: at(c, *QAS).pop("question"), r"paragraphs\[0\].qas\[0\] has no field 'question'"),
    "a slip": (
        lambda c: at(c, *QAS).update(answer=at(c, *QAS).pop("answers")),
        r"no field 'answers'. Did you mean 'answer'",
    ),
    "no id": (lambda c: at(c, *QAS).pop("id"), r"qas\[0\] has no field 'id'"),
    "a number for a question": (lambda c: at(c, *QAS).update(question=3), "'question' is 3. It must be a text"),
    "true for an offset": (
        lambda c: at(c, *QAS, "answers", 0).update(answer_start=True),
        r"answers\[0\]: 'answer_start' is True. It must be a whole number",
    ),
    "a text for an answer": (lambda c: at(c, *QAS).update(answers=["x"]), r"answers\[0\] is 'x'. It must be an object"),
    "an empty context": (lambda c: at(c, "data", 0, "paragraphs", 0).update(context=" \n"), "'context' is empty"),
    "an empty question": (lambda c: at(c, *QAS).update(question=""), "'question' is empty"),
    "an empty answer": (lambda c: at(c, *QAS, "answers", 0).update(text=""), "'text' is empty"),
    "a surrogate": (lambda c: at(c, *QAS).update(question="a\ud800"), r"'question' cannot be read. .*lone surrogate"),
    "another offset": (
        lambda c: at(c, *QAS, "answers", 1).update(answer_start=3),
        r"answers\[1\]: the answer 'Anna Keller, .*' is not in its context at answer_start 3, where .* stands. It stands at 64",
    ),
    "a negative offset": (
        lambda c: at(c, *QAS, "answers", 0).update(answer_start=-11),
        "not in its context at answer_start -11",
    ),
    "an answer from elsewhere": (lambda c: at(c, *QAS, "answers", 0).update(text="Berta"), "does not hold it anywhere"),
    "impossible with answers": (
        lambda c: at(c, *QAS).update(is_impossible=True),
        "is called impossible and has answers",
    ),
    "no answers": (lambda c: at(c, *QAS).update(answers=[]), "has no answer and is not called impossible"),
    "an id twice": (lambda c: at(c, *QAS[:-1], 1).update(id="0"), r"qas\[1\] has the id '0', which .*qas\[0\] has too"),
    "nothing": (lambda c: c.update(data=[]), "There is no question in asked.json"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(case: str, tmp_path: Path) -> None:
    change, message = WRONG[case]
    path = asked.write(tmp_path, change=change)
    with pytest.raises(CutawayError, match=message) as caught:
        read("asked.json", folder=tmp_path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"data": [', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 10**6, "is not JSON"),
        (b"[]", "holds a JSON list, not an object"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_bytes(content)
    with pytest.raises(CutawayError, match=message):
        read("asked.json", folder=tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    asked.write(tmp_path)
    with pytest.raises(CutawayError, match=r"asket.json' does not exist. Did you mean 'asked.json'"):
        QuestionSource(files="asket.json", folder=tmp_path).paths()
    with pytest.raises(CutawayError, match="names no files"):
        QuestionSource(files="")
