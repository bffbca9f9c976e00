"""`cutaway translate`: a text, a file, a pipe; files that are gone on with; mistakes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.weights import checkpoint
from tests.apps.test_cli import Capture, ask
from tests.tasks.test_translate import translator

LINES = ["Guten Morgen", "", "Ja, ja", "Wo ist der Hund?", "Nein"]
GREEDY = ("--beams", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A translator on disk."""
    lm, place = translator(), tmp_path_factory.mktemp("model") / "m"
    checkpoint.save(place, lm.model, tokenizer_files=lm.tokenizer.save)
    return str(place)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with lines."""
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", "utf-8")
    return tmp_path / "lines.txt"


def shown(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def test_a_file_a_text_and_a_pipe_give_the_same(
    model: str, file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_file = ask(capsys, "translate", model, str(file), *GREEDY)
    assert len(of_file.split("\n")) == len(LINES) + 1
    assert of_file.split("\n")[1] == ""
    assert ask(capsys, "translate", model, "Guten Morgen", *GREEDY).split("\n")[0] == of_file.split("\n")[0]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(LINES)))
    assert ask(capsys, "translate", model, *GREEDY) == of_file


def test_json_has_the_others_and_the_alignment(model: str, capsys: Capture) -> None:
    words = ("Guten Morgen", "--beams", "3", "--num", "2", "--align", "--json")
    (line,) = ask(capsys, "translate", model, *words).splitlines()
    found = json.loads(line)
    assert found["source"] == "Guten Morgen"
    assert len(found["others"]) == 1
    assert len(found["alignment"]["links"]) == len(found["alignment"]["target_tokens"])
    plain = ask(capsys, "translate", model, *words[:-1])
    assert plain.splitlines()[0] == found["text"]
    assert "←" in plain


def test_a_file_is_written_whole(model: str, file: Path, capsys: Capture) -> None:
    out = file.with_name("out.txt")
    assert "5 lines" in ask(capsys, "translate", model, str(file), "--out", str(out), *GREEDY)
    lines = out.read_text("utf-8").split("\n")[:-1]
    assert lines == [
        " ".join(line.split()) for line in ask(capsys, "translate", model, str(file), *GREEDY).split("\n")[:-1]
    ]
    assert sorted(path.name for path in file.parent.iterdir()) == ["lines.txt", "out.txt"]


def test_a_job_that_was_stopped_goes_on(
    model: str, file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, part = file.with_name("out.txt"), file.with_name("out.txt.part")
    ask(capsys, "translate", model, str(file), "--out", str(file.with_name("whole.txt")), *GREEDY)
    monkeypatch.setattr("cutaway.tasks.translate.PIECE", 2)
    asked: list[int] = []

    def stop_at_second(lm: LM, texts: list[str], **knobs: object) -> object:
        asked.append(len(texts))
        if len(asked) == 2:
            raise CutawayError("stopped")
        return real(lm, texts, **knobs)  # type: ignore[arg-type]

    from cutaway.tasks import translate as module

    real = module.translate
    monkeypatch.setattr(module, "translate", stop_at_second)
    assert main(["translate", model, str(file), "--out", str(out), *GREEDY]) == 2
    part.write_bytes(part.read_bytes() + b"half a li")
    monkeypatch.setattr(
        module, "translate", lambda lm, texts, **knobs: asked.append(len(texts)) or real(lm, texts, **knobs)
    )
    capsys.readouterr()
    ask(capsys, "translate", model, str(file), "--out", str(out), *GREEDY)
    assert asked[2:] == [2, 1]
    assert out.read_bytes() == file.with_name("whole.txt").read_bytes()
    assert not part.exists()


def test_a_line_that_is_too_long_leaves_nothing_behind(model: str, file: Path, capsys: Capture) -> None:
    file.write_text(f"Ja\n{'x' * 80}\n", "utf-8")
    assert main(["translate", model, str(file), "--out", str(file.with_name("out.txt")), *GREEDY]) == 2
    assert "Line 2 has 81 tokens" in capsys.readouterr().err
    assert [path.name for path in file.parent.iterdir()] == ["lines.txt"]


def test_another_job_is_not_gone_on_with(model: str, file: Path, capsys: Capture) -> None:
    part = file.with_name("out.txt.part")
    part.write_text("{}\nHello\n")
    assert main(["translate", model, str(file), "--out", str(file.with_name("out.txt")), *GREEDY]) == 2
    assert "is of another job" in capsys.readouterr().err
    assert part.read_text() == "{}\nHello\n"


def test_without_a_bundled_translator_one_is_asked_for(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.finding.bundled_models", dict)
    assert main(["translate", "Guten Morgen"]) == 2
    assert "No bundled model translates" in capsys.readouterr().err


MISTAKES = (
    (("a", "b", "c"), "There are 3 words"),
    (("nowhere", "text"), "There is no model 'nowhere'"),
    (("stories", "text"), "'stories' has no encoder with a decoder"),
    (("MODEL", "x" * 80), "Line 1 has 81 tokens"),
    (("MODEL", "nowhere.txt"), "The file 'nowhere.txt' does not exist"),
    (("MODEL", "x", "--beams", "0"), "num_beams is 0"),
    (("MODEL", "x", "--num", "9"), "num_return is 9"),
    (("MODEL", "x", "--out", "/nowhere/out.txt"), "cannot be written"),
)


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_message(words: tuple[str, ...], message: str, model: str, capsys: Capture) -> None:
    assert main(["translate", *(model if word == "MODEL" else word for word in words)]) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1


def test_a_translator_is_evaluated_on_pairs(model: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "pairs.tsv").write_text("Good morning\tGuten Morgen\nYes\tJa\n", "utf-8")
    kept = tmp_path / "report.json"
    words = (
        "evaluate",
        model,
        str(tmp_path / "pairs.tsv"),
        "--source",
        "2",
        "--target",
        "1",
        *GREEDY,
        "--report",
        str(kept),
    )
    shown = ask(capsys, *words)
    assert "bleu" in shown
    assert f"Written to {kept}" in shown
    found = json.loads(ask(capsys, *words, "--json"))
    assert set(found["scores"]) == {"bleu", "chrf"}
    assert json.loads(kept.read_text("utf-8"))["examples"][1]["source"] == "Ja"


def test_a_text_keeps_no_report(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.txt").write_text("The cat saw the dog. " * 20)
    assert main(["evaluate", "stories", str(tmp_path / "text.txt"), "--report", "x.json"]) == 2
    assert "--report is for tasks with predictions" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"Gr\xfc\xdfe\n", b" \n"])
def test_a_pipe_that_is_no_text_is_refused(
    content: bytes, model: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    assert main(["translate", model]) == 2
    assert re.search("not valid UTF-8|Standard input is empty", capsys.readouterr().err)
