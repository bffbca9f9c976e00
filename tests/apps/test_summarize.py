"""`cutaway summarize`: a file and a pipe, text and JSON, chunks that are shown, every option, one message for a mistake."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cutaway.apps.cli import main
from cutaway.lm import load
from cutaway.tasks.summarise import Summary, settings_of, summarise
from tests.tasks.summarisers import DOCUMENTS, summariser

Capture = pytest.CaptureFixture[str]
LONG = "\n\n".join(DOCUMENTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model of T5's shape, which says how it is to be asked."""
    folder = tmp_path_factory.mktemp("model")
    summariser("t5", folder, {"prefix": "sum: ", "num_beams": 2, "max_length": 9})
    return str(folder)


@pytest.fixture
def article(tmp_path: Path) -> str:
    (tmp_path / "article.txt").write_text(LONG)
    return str(tmp_path / "article.txt")


def ask(capsys: Capture, *words: str, code: int = 0) -> str:
    """What a command prints, or, where it fails, its message."""
    capsys.readouterr()
    assert main(["summarize", *words]) == code
    shown = capsys.readouterr()
    return shown.out if code == 0 else shown.err


def wanted(model: str, **knobs: Any) -> Summary:
    lm = load(model)
    return summarise(lm, LONG, replace(settings_of(lm), **knobs))


def test_a_file_and_a_pipe_give_the_summary(
    model: str, article: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = wanted(model).text
    assert text
    assert ask(capsys, model, article) == f"{text}\n"
    for words in ((model,), (model, "-")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(LONG))
        assert ask(capsys, *words) == f"{text}\n"


def test_json_is_one_object_with_every_chunk(model: str, article: str, capsys: Capture) -> None:
    found = json.loads(ask(capsys, model, article, "--json", "--chunk", "30", "--overlap", "8", "--strategy", "again"))
    expected = wanted(model, chunk=30, overlap=8, strategy="again")
    assert found.keys() == {"summary", "chunks", "num_rounds", "num_unread"}
    assert found["summary"] == expected.text
    assert found["num_rounds"] == len(expected.rounds)
    assert [(each["start"], each["end"], each["num_tokens"], each["summary"]) for each in found["chunks"]] == [
        (part.start, part.end, part.num_tokens, part.summary) for part in expected.parts
    ]
    assert len(found["chunks"]) > 3


def test_chunks_are_shown(model: str, article: str, capsys: Capture) -> None:
    shown = ask(capsys, model, article, "--chunk", "30", "--show-chunks")
    expected = wanted(model, chunk=30)
    heads = re.findall(r"^Chunk (\d+) of (\d+): characters ([\d,]+) to ([\d,]+), (\d+) tokens$", shown, re.MULTILINE)
    assert [tuple(map(int, head)) for head in heads] == [
        (number, len(expected.parts), part.start, part.end, part.num_tokens)
        for number, part in enumerate(expected.parts, start=1)
    ]
    assert [line[4:] for line in shown.splitlines() if line.startswith("  → ")] == [
        " ".join(part.summary.split()) for part in expected.parts
    ]
    assert shown.endswith(f"\n{expected.text}\n")
    assert "Round 2: its summaries" in ask(
        capsys, model, article, "--chunk", "30", "--show-chunks", "--strategy", "again", "--max-tokens", "4"
    )


def test_a_long_chunk_is_shown_by_its_ends(model: str, article: str, capsys: Capture) -> None:
    shown = ask(capsys, model, article, "--chunk", "500", "--show-chunks")
    assert f"  {LONG[:40]}" in shown
    assert " … " in shown
    assert LONG[-40:] in shown


def test_what_was_not_read_is_said(model: str, article: str, capsys: Capture) -> None:
    assert main(["summarize", model, article, "--chunk", "30", "--strategy", "first"]) == 0
    shown = capsys.readouterr()
    part = wanted(model, chunk=30, strategy="first").parts[0]
    assert shown.out == f"{part.summary}\n"
    assert f"The last {len(LONG) - part.end} characters were not read" in shown.err


def test_every_option_of_the_search_counts(model: str, article: str, capsys: Capture) -> None:
    options = (
        ["--beams", "4", "--length-penalty", "0.5", "--no-repeat", "2"],
        ["--min-tokens", "6", "--max-tokens", "11", "--no-repeat", "0"],
    )
    settings = settings_of(load(model))
    rules = settings.beam.constraints
    changed = (
        {"beam": replace(settings.beam, num_beams=4, length_penalty=0.5, constraints=replace(rules, no_repeat=2))},
        {
            "beam": replace(settings.beam, constraints=replace(rules, no_repeat=None, min_tokens=6)),
            "max_tokens": 11,
        },
    )
    found = [ask(capsys, model, article, *words) for words in (*options, ["--prefix", "the dog "])]
    assert found == [f"{wanted(model, **knobs).text}\n" for knobs in (*changed, {"prefix": "the dog "})]
    assert len({*found, f"{wanted(model).text}\n"}) > 2


def test_chunks_are_counted_on_a_terminal(
    model: str, article: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for words, is_counted in ((("--chunk", "30"), True), (("--chunk", "500"), False)):
        assert main(["summarize", model, article, "--batch-size", "1", *words]) == 0
        assert ("chunks" in capsys.readouterr().err) == is_counted


def test_without_a_model_one_message_says_what_to_do(article: str, capsys: Capture) -> None:
    for words in ((), (article,)):
        message = ask(capsys, *words, code=2)
        assert message.startswith("cutaway summarize: No summariser comes with Cutaway.")
        assert "cutaway summarize MODEL FILE" in message


MISTAKES: dict[str, tuple[list[str], str]] = {
    "three words": (["MODEL", "ARTICLE", "more"], "There are 3 words"),
    "no such model": (["nowhere", "ARTICLE"], "There is no model 'nowhere'"),
    "no such file": (["MODEL", "none.txt"], "none.txt' does not exist"),
    "a folder": (["MODEL", "."], "is a folder"),
    "an impossible chunk": (["MODEL", "ARTICLE", "--chunk", "0"], "chunk is 0"),
    "a chunk that holds nothing": (["MODEL", "ARTICLE", "--chunk", "3"], "holds nothing"),
    "an impossible overlap": (["MODEL", "ARTICLE", "--chunk", "20", "--overlap", "20"], "overlap is 20"),
    "no strategy": (["MODEL", "ARTICLE", "--strategy", "agan"], "Did you mean 'again'"),
    "no beams": (["MODEL", "ARTICLE", "--beams", "0"], "num_beams is 0"),
    "a minimum above the maximum": (["MODEL", "ARTICLE", "--min-tokens", "20"], "min_tokens is 20"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_message(case: str, model: str, article: str, capsys: Capture) -> None:
    words, message = MISTAKES[case]
    named = {"MODEL": model, "ARTICLE": article}
    shown = ask(capsys, *(named.get(word, word) for word in words), code=2)
    assert message in shown
    assert "Traceback" not in shown


def test_empty_documents_are_refused(
    model: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    assert "empty.txt is empty" in ask(capsys, model, str(tmp_path / "empty.txt"), code=2)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "Standard input is empty" in ask(capsys, model, code=2)
