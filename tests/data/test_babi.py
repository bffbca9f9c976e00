"""bAbI's files: contexts grow within a story, earlier questions are not in them, and what is wrong is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.data import Cutter, Marked, QuestionSource, read_questions
from cutaway.errors import CutawayError
from tests import asked

TEXT = """1 Mary moved to the bathroom.
2 Sandra got the milk there.
3 Where is Mary? \tbathroom\t1
4 Mary got the football.
5 What is Mary carrying?\tfootball,milk\t2 4
1 The hall is east of the den.
2 How do you go from the hall to the den?\tw\t1
"""


def write(folder: Path, text: str = TEXT) -> QuestionSource:
    (folder / "qa.txt").write_text(text, "utf-8")
    return QuestionSource(files="qa.txt", folder=folder)


def test_contexts_grow_within_a_story(tmp_path: Path) -> None:
    found = list(read_questions(write(tmp_path)))
    start = "Mary moved to the bathroom. Sandra got the milk there."
    assert [(each.text, each.context) for each in found] == [
        ("Where is Mary?", start),
        ("What is Mary carrying?", f"{start} Mary got the football."),
        ("How do you go from the hall to the den?", "The hall is east of the den."),
    ]
    assert [each.answers for each in found] == [
        (Marked("bathroom", None),),
        (Marked("football, milk", None),),
        (Marked("w", None),),
    ]
    assert found[1].place == found[1].id == f"{tmp_path}/qa.txt:5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mary went home.", "qa.txt:8 is 'Mary went home.'. A line of bAbI is a number"),
        ("3 ", "qa.txt:8 is '3 '"),
        ("5 Mary went home.", "qa.txt:8 has the number 5, and 3 or 1 comes next"),
        ("1 Where is Mary?\tden\t", "qa.txt:8 asks before anything was said"),
        ("3 Where is Mary?\t\t1", "qa.txt:8 has no answer"),
        ("3 \tden\t1", "qa.txt:8 has no question"),
        ("9" * 5000 + " Mary", "qa.txt:8 cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=message):
        list(read_questions(write(tmp_path, f"{TEXT}{line}\n")))


def test_blank_lines_are_passed_over_and_an_empty_file_is_not(tmp_path: Path) -> None:
    assert len(list(read_questions(write(tmp_path, TEXT.replace("\n", "\n\n"))))) == 3
    with pytest.raises(CutawayError, match=r"There is no question in qa\.txt"):
        list(read_questions(write(tmp_path, "1 Mary went home.\n")))


def test_an_answer_without_a_place_cannot_be_marked(tmp_path: Path) -> None:
    tokenizer = asked.wordpiece()
    cutter = Cutter(tokenizer, asked.config(tokenizer), length=64, stride=16, max_question=20)
    with pytest.raises(CutawayError, match="has no place in its context, so it cannot be marked there"):
        list(cutter.windows(read_questions(write(tmp_path))))
