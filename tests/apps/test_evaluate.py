"""`cutaway evaluate` with a task: the figures of the task's own function, a report to keep, baselines beside summaries."""

from __future__ import annotations

import json
from pathlib import Path

from cutaway.apps.cli import main
from cutaway.lm import load
from cutaway.tasks.answer import evaluate_answers
from cutaway.tasks.summaries import evaluate_summaries
from tests import asked
from tests.apps.test_cli import Capture, ask
from tests.tasks.summarisers import DOCUMENTS, summariser


def test_answers_are_measured_and_kept(tmp_path: Path, capsys: Capture) -> None:
    place, file, kept = asked.reader(tmp_path / "reader"), asked.write(tmp_path), tmp_path / "report.json"
    shown = json.loads(ask(capsys, "evaluate", str(place), str(file), "--json", "--report", str(kept)))
    wanted = evaluate_answers(load(place), file)
    assert shown["task"] == "answer"
    assert shown["scores"]["f1"]["value"] == wanted.score("f1").value
    assert len(json.loads(kept.read_text("utf-8"))["examples"]) == len(asked.ASKED)


def test_summaries_stand_beside_their_baselines(tmp_path: Path, capsys: Capture) -> None:
    summariser("bart", tmp_path / "model")
    lines = [json.dumps({"source": document, "target": document[:40]}) for document in DOCUMENTS]
    (tmp_path / "documents.jsonl").write_text("\n".join(lines), "utf-8")
    words = ("evaluate", str(tmp_path / "model"), str(tmp_path / "documents.jsonl"), "--task", "summarize")
    shown = ask(capsys, *words)
    wanted = evaluate_summaries(load(tmp_path / "model"), tmp_path / "documents.jsonl")
    table = shown[shown.index("lead") :]
    for report in wanted.named().values():
        assert all(f"{score.value:.2f}" in table for score in report.scores)
    found = json.loads(ask(capsys, *words, "--json"))
    assert found["scores"][wanted.model.scores[0].metric]["value"] == wanted.model.scores[0].value


def test_replies_are_measured_where_the_file_holds_dialogues(tmp_path: Path, capsys: Capture) -> None:
    file, text = tmp_path / "chats.jsonl", tmp_path / "texts.jsonl"
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "How can I help?"}]
    file.write_text(json.dumps({"messages": said}), "utf-8")
    text.write_text(json.dumps({"text": "Once upon a time there was a cat."}), "utf-8")
    shown = json.loads(ask(capsys, "evaluate", "stories-chat", str(file), "--json"))
    assert shown == json.loads(ask(capsys, "evaluate", "stories-chat", str(file), "--task", "chat", "--json")) | {
        name: shown[name] for name in ("seconds",)
    }
    assert shown["task"] == "chat"
    assert "perplexity" in ask(capsys, "evaluate", "stories-chat", str(text))


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, capsys: Capture) -> None:
    for place, reason in ((tmp_path, "it is a folder"), (Path("/dev/null/report.json"), "File exists")):
        assert main(["evaluate", "no-such-model", "file.tsv", "--report", str(place)]) == 2
        assert f"Could not save {place}: {reason}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
