"""How likely replies are: what one pass over the whole dialogue says, in bits per byte, ranked, kept and compared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("jinja2")

from cutaway.apps.cli import main
from cutaway.config import PositionConfig
from cutaway.data.dialogues import encode_dialogue, read_dialogues
from cutaway.data.sources import Source
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.tasks.bits import RECORD
from cutaway.tasks.chat import template_of
from cutaway.tasks.compare import compare_reports
from cutaway.tasks.replies import evaluate_replies, predict_replies
from cutaway.tasks.report import Report
from cutaway.weights import checkpoint
from tests import tiny
from tests.text.samples import trained

DIALOGUES = [
    [["user", "Who came in?"], ["assistant", "The dog, I think."], ["user", "And then?"], ["assistant", "It left."]],
    [["user", "Grüß dich!"], ["assistant", "Hello, ça va?"]],
]


def write(folder: Path) -> Path:
    lines = [json.dumps({"turns": turns}) for turns in DIALOGUES]
    (folder / "talk.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder / "talk.jsonl"


def model(context: int = 96, seed: int = 1) -> LM:
    tokenizer = trained("bpe")
    config = tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="rotary")), vocab_size=tokenizer.vocab_size, context=context
    )
    return LM(tiny.model(config, seed=seed), tokenizer, f"tiny {seed}")


def test_replies_are_as_likely_as_one_pass_says(tmp_path: Path) -> None:
    lm, path = model(), write(tmp_path)
    told: list[tuple[int, int]] = []
    report = evaluate_replies(lm, path, progress=lambda done, total: told.append((done, total)))
    nats, num_targets = 0.0, 0
    for dialogue in read_dialogues(Source(files=str(path))):
        ids, weights = encode_dialogue(dialogue, lm.tokenizer, template_of(lm))
        log_p = lm.logits(ids[:-1].tolist())[0].double().log_softmax(-1)
        of_targets = log_p.gather(-1, torch.from_numpy(ids[1:])[:, None])[:, 0]
        num_targets += int(weights.sum())
        nats -= float((of_targets * torch.from_numpy(weights[1:])).sum())
    num_bytes = sum(len(text.encode()) for turns in DIALOGUES for speaker, text in turns if speaker == "assistant")
    score = report.score("bits_per_byte")
    assert score.value == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    whole = predict_replies(lm, path)
    assert whole.bits_per_byte == pytest.approx(score.value)
    assert (whole.bytes, whole.tokens) == (num_bytes, num_targets)
    assert whole.loss == pytest.approx(nats / num_targets, rel=1e-5)
    assert whole.bits_per_character > whole.bits_per_byte, "ç is two bytes"
    assert score.low < score.value < score.high
    assert [example.references for example in report.examples] == [
        ("The dog, I think.",),
        ("It left.",),
        ("Hello, ça va?",),
    ]
    assert [example.source for example in report.examples] == ["Who came in?", "And then?", "Grüß dich!"]
    assert told == [(3, 3)]


def test_of_a_long_dialogue_the_end_is_read(tmp_path: Path) -> None:
    whole, cut = (evaluate_replies(model(context), write(tmp_path)) for context in (96, 32))
    rows = whole.score("bits_per_byte").rows[:, 0], cut.score("bits_per_byte").rows[:, 0]
    assert rows[0][0] == pytest.approx(rows[1][0], rel=1e-5)
    assert rows[0][1] != pytest.approx(rows[1][1], rel=1e-5)


def test_the_best_reply_takes_the_fewest_bits_and_reports_are_kept_and_compared(tmp_path: Path) -> None:
    path = write(tmp_path)
    one, other = (evaluate_replies(model(seed=seed), path) for seed in (1, 2))
    bits = [nats / size for nats, size in one.score("bits_per_byte").rows.tolist()]
    assert one.best(1) == [bits.index(min(bits))]
    assert one.worst(1) == [bits.index(max(bits))]
    one.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == one
    (difference,) = compare_reports(one, other)
    assert difference.test.difference == pytest.approx(
        other.score("bits_per_byte").value - one.score("bits_per_byte").value
    )


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm, path = model(), write(tmp_path)
    checkpoint.save(tmp_path / "model", lm.model, tokenizer_files=lm.tokenizer.save)
    assert main(["evaluate", str(tmp_path / "model"), str(path), "--task", "chat"]) == 0
    shown = capsys.readouterr().out
    assert "bits_per_byte" in shown
    assert "The dog, I think." in shown or "It left." in shown
    assert "prediction" not in shown
    assert main(["evaluate", str(tmp_path / "model"), str(path), "--task", "chat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["bits_per_byte"]["value"] > 0


def test_what_8_bits_cost_replies_is_kept_beside_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm, path, place = model(), write(tmp_path), tmp_path / "model"
    checkpoint.save(place, lm.model, tokenizer_files=lm.tokenizer.save)
    assert main(["evaluate", str(place), str(path), "--bits", "8", "--keep"]) == 0
    shown, fact = capsys.readouterr().out, json.loads((place / RECORD).read_text("utf-8"))["8"]
    assert "32 bits     perplexity" in shown
    assert (fact["text"], fact["tokens"]) == ("talk.jsonl", predict_replies(lm, path).tokens)
    assert fact["in_full_precision"] == pytest.approx(evaluate_replies(lm, path).score("bits_per_byte").value)
    assert fact["bits_per_byte"] != fact["in_full_precision"]


def test_what_holds_no_conversation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"turns": [["user", "Hello"]]}\n')
    with pytest.raises(CutawayError, match=r"empty\.jsonl:1 has no reply of the assistant"):
        evaluate_replies(model(), tmp_path / "empty.jsonl")
    encoder = LM(tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack())), trained("bpe"), "pair")
    with pytest.raises(CutawayError, match="it holds no conversation"):
        evaluate_replies(encoder, write(tmp_path))
