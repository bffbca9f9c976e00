"""`cutaway compare` and reports in a terminal: the very lines, JSON, the picture, and one message for a mistake."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cutaway.apps.cli import main
from cutaway.tasks.compare import compare_reports
from cutaway.tasks.report import make_report
from cutaway.tasks.show import show_report
from cutaway.train.summary import run_events, summarise
from tests.tasks.samples import report
from tests.train import runs

Capture = pytest.CaptureFixture[str]
PNG = b"\x89PNG\r\n\x1a\n"

REPORT = """\
answer  tiny on questions.json: 4 examples, 1.5 s
  metric       value  95 % interval
  exact_match  50.00  0.00 … 100.00
  f1           66.67  25.00 … 100.00
  exact_match  squad:2.0|refs:best
  f1  squad:2.0|refs:best

Best  example 1, exact_match 100.00
  source      Who sat?
  prediction  the cat
  reference   A cat.
  reference   a dog

Worst  example 4, exact_match 0.00
  source      [bold]Who?
  prediction  a  [31m dog
  reference   none: there is no answer
"""
COMPARED = """\
translate  pairs.tsv: 30 examples
               poor.json      good.json
  model             poor           good
  bleu             23.33          68.88
    95 %   16.10 … 29.74  57.92 … 77.99
  seconds            2.5            2.5

good.json  against poor.json
  metric  difference  95 % interval    p, bootstrap  p, randomisation
  bleu        +45.55  +32.59 … +58.00         0.001            0.0001
"""


def shown(draw: object) -> str:
    out = io.StringIO()
    draw(Console(file=out, width=100, color_system=None, markup=False, emoji=False, highlight=False))  # type: ignore[operator]
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def ask(capsys: Capture, *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["compare", *words]) == code
    found = capsys.readouterr()
    assert (found.err == "") == (code == 0)
    return found.out if code == 0 else found.err


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("reports")
    for name, share in (("poor", 0.5), ("good", 0.2)):
        report(folder, name, metric="bleu", share=share).save(folder / f"{name}.json")
    return str(folder / "poor.json"), str(folder / "good.json")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two short runs, one of them of half as many steps."""
    folder = tmp_path_factory.mktemp("runs")
    for name, steps in (("short", 6), ("long", 12)):
        runs.train(runs.recipe(folder, f"training.steps={steps}", "training.evaluate_every=3"), folder / name)
    return str(folder / "short"), str(folder / "long")


def test_a_report_is_a_table_with_its_best_and_worst_examples(tmp_path: Path) -> None:
    data = tmp_path / "questions.json"
    data.touch()
    given = [
        ("Who sat?", "the cat", ["A cat.", "a dog"]),
        ("Who ran?", "", []),
        ("Who came?", "a big dog", ["dog"]),
        ("[bold]Who?", "a \x1b[31m dog", []),
    ]
    found = make_report(task="answer", model="tiny", data=data, examples=given, metric="squad", seconds=1.5)
    assert shown(lambda console: show_report(found, console, num_shown=1)) == REPORT


def test_reports_stand_side_by_side(reports: tuple[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    printed = ask(capsys, *reports)
    assert "".join(line.rstrip() + "\n" for line in printed.splitlines()) == COMPARED


def test_a_third_report_is_compared_with_the_first(reports: tuple[str, str], capsys: Capture) -> None:
    found = json.loads(ask(capsys, *reports, reports[0], "--json"))
    assert [each["model"] for each in found["reports"]] == ["poor", "good", "poor"]
    assert [each["against"] for each in found["differences"]] == [reports[0]] * 2
    better, same = (each["metrics"][0] for each in found["differences"])
    assert better["test"]["difference"] == pytest.approx(better["second"] - better["first"])
    assert better["test"]["bootstrap_p"] < 0.01
    assert (same["test"]["difference"], same["test"]["randomisation_p"]) == (0, 1)


def test_runs_stand_side_by_side(pair: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    printed = ask(capsys, *pair, "--plot", str(tmp_path / "losses.png"))
    one, other = (summarise(Path(path), run_events(Path(path))) for path in pair)
    assert printed.splitlines()[0].split() == ["short", "long"]
    assert "6 of 6, finished" in printed
    assert "12 of 12, finished" in printed
    for name, values in {
        "held-out loss": (one.held_out_loss, other.held_out_loss),
        "training loss": (one.train_loss, other.train_loss),
        "bits per byte": (one.bits_per_byte, other.bits_per_byte),
    }.items():
        line = next(line for line in printed.splitlines() if name in line)
        assert line.split()[-2:] == [f"{value:.4f}" for value in values]
    assert (tmp_path / "losses.png").read_bytes().startswith(PNG)
    assert printed.endswith(f"Wrote {tmp_path / 'losses.png'}.\n")


def test_runs_as_json(pair: tuple[str, str], capsys: Capture) -> None:
    found = json.loads(ask(capsys, *pair, "--json"))["runs"]
    assert [each["path"] for each in found] == list(pair)
    assert [each["step"] for each in found] == [6, 12]
    assert all(each["best_held_out_loss"] <= each["held_out_loss"] for each in found)
    assert all(each["tokens_per_second"] > 0 for each in found)


def test_paths_are_told_apart_by_their_ends(reports: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "poor.json"
    other.write_bytes(Path(reports[0]).read_bytes())
    printed = ask(capsys, reports[0], str(other))
    assert f"{Path(reports[0]).parent.name}/poor.json" in printed
    assert f"{tmp_path.name}/poor.json" in printed


MISTAKES = (
    (("REPORT",), "There is nothing to compare"),
    (("REPORT", "RUN"), "Compare runs with runs"),
    (("RUN", "FOLDER"), "holds no events.jsonl"),
    (("RUN", "FOLDER/nothing"), "is a run and"),
    (("REPORT", "FOLDER/nothing"), "does not exist"),
    (("REPORT", "FOLDER/other.json"), "These reports are on other examples"),
    (("REPORT", "FOLDER/junk"), "is no whole report"),
    (("REPORT", "REPORT", "--plot", "FOLDER/a.png"), "--plot draws the losses of training runs"),
    (("RUN", "FOLDER/empty"), "tells of no step"),
    (("RUN", "RUN", "--plot", "/dev/null/a.png"), "Could not save"),
)


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_message(
    words: tuple[str, ...],
    message: str,
    reports: tuple[str, str],
    pair: tuple[str, str],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    (tmp_path / "junk").write_bytes(b"\x00\x01")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "events.jsonl").touch()
    replace(report(tmp_path, seed=9), model="other").save(tmp_path / "other.json")
    named = {"REPORT": reports[0], "RUN": pair[0]}
    typed = [named.get(word, word.replace("FOLDER", str(tmp_path))) for word in words]
    told = ask(capsys, *typed, code=2)
    assert told.startswith("cutaway compare: ")
    assert message in told
    assert told.count("\n") == 1


def test_the_library_and_the_command_agree(reports: tuple[str, str], capsys: Capture) -> None:
    from cutaway.tasks.report import Report

    one, other = (Report.load(Path(path)) for path in reports)
    (found,) = compare_reports(one, other)
    told = json.loads(ask(capsys, *reports, "--json"))["differences"][0]["metrics"][0]["test"]
    assert told["bootstrap_p"] == found.test.bootstrap_p
    assert (told["low"], told["high"]) == (found.test.low, found.test.high)
