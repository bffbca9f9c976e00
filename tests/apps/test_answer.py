"""`cutaway answer`: the very lines, with and without colours, JSON, and one message for each mistake."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cutaway.apps.cli import main
from cutaway.apps.inspect.answers import show
from cutaway.lm import load
from cutaway.tasks.answer import Answer, Answers, Asking, Threshold, answer, save_threshold
from tests import asked
from tests.apps import small

Capture = pytest.CaptureFixture[str]
CONTEXT = asked.CONTEXTS[0]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that always answers, and a text beside it."""
    place = asked.reader(tmp_path_factory.mktemp("answers") / "reader")
    save_threshold(place, Threshold(threshold=1e3))
    (place.parent / "text.txt").write_text("\ufeff" + CONTEXT, "utf-8")
    return place


def ask(capsys: Capture, *words: str, code: int = 0) -> str:
    assert main(["answer", *words]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def found(*answers: tuple[str, float], no_answer: float = 0.04) -> Answers:
    marked = [
        Answer(text=text, begin=CONTEXT.index(text), end=CONTEXT.index(text) + len(text), score=1.0, probability=share)
        for text, share in answers
    ]
    return Answers(question="Who?", context=CONTEXT, answers=tuple(marked), no_answer=no_answer, gap=-1.0)


def shown(answers: Answers, *, has_colours: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=80,
        force_terminal=has_colours,
        color_system="truecolor" if has_colours else None,
        highlight=False,
    )
    show(answers, console)
    return stream.getvalue()


def test_an_answer_stands_in_its_sentence() -> None:
    lines = [line.rstrip() for line in shown(found(("Anna Keller", 0.83), ("1782", 0.1))).splitlines()]
    assert lines == [
        "Anna Keller  83 %, no answer 4.0 %",
        "",
        "  It was built in 1782 by [Anna Keller], a miller's daughter from Trier; she",
        "  paid 4,000 thalers for the land.",
        "  characters 64 to 75",
        "",
        "83 %  Anna Keller  64–75",
        "10 %  1782         56–60",
    ]


def test_colours_take_the_place_of_brackets() -> None:
    text = shown(found(("Anna Keller", 0.83)), has_colours=True)
    assert "\x1b[1;38;2;40;133;95mAnna Keller\x1b[0m" in text
    assert "\x1b[1;38;2;197;82;28mAnna Keller\x1b[0m" in text
    assert "[Anna Keller]" not in text


def test_no_answer_is_said() -> None:
    lines = shown(found(("1782", 0.01), no_answer=0.97)).splitlines()
    assert lines == ["no answer  97 %", "if there is one, it is 1782"]
    written = Answers(question="Who?", context=CONTEXT, answers=(), no_answer=0.6)
    assert shown(written) == "no answer  60 %\n"


def test_what_was_written_and_stands_nowhere_has_no_evidence() -> None:
    own = Answer(text="Berta\x1b[2J", begin=None, end=None, score=-1.0, probability=0.37)
    text = shown(Answers(question="Who?", context=CONTEXT, answers=(own,)))
    assert text.splitlines()[0] == "Berta\ufffd[2J  37 %"
    assert "the model wrote them" in text


def test_by_command(reader: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (str(reader), "Who built the mill?", "--context", str(reader.parent / "text.txt"))
    best = answer(load(reader), "Who built the mill?", CONTEXT, Asking(num=3)).answers
    printed = ask(capsys, *words, "--num", "3")
    assert printed.startswith(f"{best[0].text}  ")
    assert f"characters {best[0].begin} to {best[0].end}" in printed
    assert printed.count("–") >= 3
    assert "\x1b" not in printed

    told = json.loads(ask(capsys, *words, "--num", "3", "--json"))
    assert [(each["text"], each["begin"], each["end"]) for each in told["answers"]] == [
        (each.text, each.begin, each.end) for each in best
    ]
    evidence = told["answers"][0]["evidence"]
    assert evidence["text"][evidence["begin"] : evidence["end"]] == told["text"] == best[0].text

    monkeypatch.setattr("sys.stdin", io.StringIO(CONTEXT))
    assert ask(capsys, *words[:2], "--context", "-", "--num", "3") == printed


def test_a_model_that_writes_answers_too(reader: Path, tmp_path: Path, capsys: Capture) -> None:
    words = (str(small.saved(tmp_path / "writer")), "Who?", "--context", str(reader.parent / "text.txt"))
    form = ("--prompt", "{question}{context}", "--max-tokens", "4")
    (tmp_path / "short.txt").write_text("The cat.")
    told = json.loads(ask(capsys, *words[:3], str(tmp_path / "short.txt"), *form, "--json"))
    assert told.keys() == {"question", "text", "no_answer", "answers"}
    assert len(told["answers"]) <= 1


MISTAKES = {
    "an empty question": (("READER", " ", "--context", "FOLDER/text.txt"), "The question is empty"),
    "a missing context": (("READER", "Who?", "--context", "FOLDER/none.txt"), "none.txt' does not exist"),
    "a folder": (("READER", "Who?", "--context", "FOLDER"), "is a folder"),
    "an empty context": (("READER", "Who?", "--context", "FOLDER/empty.txt"), "empty.txt is empty"),
    "no text": (("READER", "Who?", "--context", "FOLDER/junk.txt"), "is not UTF-8 text"),
    "a mute model": (("FOLDER/mute", "Who?", "--context", "FOLDER/text.txt"), "cannot answer"),
    "a missing model": (("FOLDER/gone", "Who?", "--context", "FOLDER/text.txt"), "There is no model"),
    "no bundled model": (
        ("Who?", "--context", "FOLDER/text.txt"),
        "No model that answers comes with Cutaway. Name one",
    ),
    "no number": (("READER", "Who?", "--context", "FOLDER/text.txt", "--num", "0"), "num is 0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_message(case: str, reader: Path, tmp_path: Path, capsys: Capture) -> None:
    words, message = MISTAKES[case]
    (tmp_path / "text.txt").write_text(CONTEXT)
    (tmp_path / "empty.txt").write_text("\ufeff \n")
    (tmp_path / "junk.txt").write_bytes(b"\xff\x00")
    if case == "a mute model":
        asked.reader(tmp_path / "mute", has_head=True, num_labels=0)
    named = {"READER": str(reader)}
    told = ask(capsys, *(named.get(word, word.replace("FOLDER", str(tmp_path))) for word in words), code=2)
    assert told.startswith("cutaway answer: ")
    assert message in told
    assert told.count("\n") == 1
