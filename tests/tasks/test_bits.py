"""What fewer bits cost: measured before and after, kept beside the weights, and followed by `generate` and `chat`."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.finding import bundled_models
from cutaway.lm import load
from cutaway.runtime.quantised import kernels
from cutaway.tasks import bits as tasks
from cutaway.tasks.bits import RECORD, Cost, keep_cost, measure_cost, usual_bits
from cutaway.tasks.evaluate import Evaluation, evaluate
from cutaway.weights.atomic import is_complete
from cutaway.weights.checkpoint import save
from tests.apps.small import saved
from tests.apps.test_cli import Capture, ask

TEXT = "The cat saw the dog, and the dog saw the cat. " * 5
PLAIN = Evaluation(1.0, 2.7, 1.0, 1.0, 10, 40)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return saved(tmp_path / "model")


def cost(rise: float, bits: int = 8) -> Cost:
    return Cost(bits=bits, full=PLAIN, fewer=replace(PLAIN, bits_per_byte=1 + rise))


def test_before_and_after_are_what_two_evaluations_say(place: Path) -> None:
    text = place.parent / "text.txt"
    found = measure_cost(load(place), 4, partial(evaluate, path=text))
    assert found.full == evaluate(load(place), text)
    assert found.fewer == evaluate(load(place, bits=4), text)
    assert found.rise == found.fewer.bits_per_byte / found.full.bits_per_byte - 1
    assert found.rise != 0
    assert not found.is_small


@pytest.mark.parametrize(("rise", "bits"), [(-0.01, 8), (0.0049, 8), (0.0051, 32), (0.3, 32)])
def test_a_model_runs_in_8_bits_where_that_was_measured_to_cost_little(
    rise: float, bits: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = kernels.Product(print, "avx2", {})
    monkeypatch.setattr(tasks, "integers", lambda: product)
    assert usual_bits(str(place)) == 32
    assert cost(rise).is_small == (bits == 8)
    keep_cost(load(place), cost(rise), "a text")
    assert usual_bits(str(place)) == bits
    monkeypatch.setattr(tasks, "integers", lambda: "no kernels")
    assert usual_bits(str(place)) == 32


def test_a_record_keeps_others_and_belongs_to_its_checkpoint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load(place)
    keep_cost(lm, cost(0.2, 4), "one")
    keep_cost(lm, cost(0.001), "other")
    known = json.loads((place / RECORD).read_text("utf-8"))
    assert {bits: fact["text"] for bits, fact in known.items()} == {"4": "one", "8": "other"}
    assert is_complete(place)
    monkeypatch.setattr(tasks, "integers", lambda: kernels.Product(print, "avx2", {}))
    save(place, lm.model)
    assert not (place / RECORD).exists(), "other weights have no record"
    assert usual_bits(str(place)) == 32


@pytest.mark.parametrize(
    "content", ['{"8": 3}', '{"8": {}}', '{"8": {"bits_per_byte": "x", "in_full_precision": 1}}', "cut"]
)
def test_a_damaged_record_is_said(content: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "integers", lambda: kernels.Product(print, "avx2", {}))
    (place / RECORD).write_text(content, "utf-8")
    with pytest.raises(CutawayError, match=RECORD):
        usual_bits(str(place))


def test_evaluate_prints_before_and_after(place: Path, capsys: Capture) -> None:
    words = ("evaluate", str(place), str(place.parent / "text.txt"), "--bits", "8")
    shown = ask(capsys, *words)
    wanted = measure_cost(load(place), 8, partial(evaluate, path=place.parent / "text.txt"))
    assert f"32 bits     perplexity {wanted.full.perplexity:,.3f}" in shown
    assert (
        f" 8 bits     perplexity {wanted.fewer.perplexity:,.3f}    bits per byte {wanted.fewer.bits_per_byte:.5f}"
        in shown
    )
    assert f"({100 * wanted.rise:+.2f} %)" in shown
    found = json.loads(ask(capsys, *words, "--json"))
    assert (found["bits"], found["rise"]) == (8, wanted.rise)
    assert found["fewer"]["perplexity"] == wanted.fewer.perplexity
    assert not (place / RECORD).exists()
    assert RECORD in ask(capsys, *words, "--keep")
    assert json.loads((place / RECORD).read_text("utf-8"))["8"]["bits_per_byte"] == wanted.fewer.bits_per_byte


def test_generate_and_chat_follow_the_option_and_the_record(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def watched(bits: int) -> None:
        asked.append(bits)

    monkeypatch.setattr("cutaway.lm.check_bits", watched)
    monkeypatch.setattr(tasks, "integers", lambda: kernels.Product(print, "avx2", {}))
    words = ("generate", str(place), "The cat", "--max-tokens", "3")
    ask(capsys, *words)
    ask(capsys, *words, "--bits", "4")
    keep_cost(load(place), cost(0.001), "a text")
    ask(capsys, *words)
    ask(capsys, *words, "--bits", "32")
    assert [bits for bits in asked if bits != 32 or asked.count(32)] == [32, 4, 8, 32]


@pytest.mark.parametrize("command", ["generate", "evaluate", "chat"])
def test_other_bits_are_one_clear_error(command: str, capsys: Capture) -> None:
    words = [command, "stories", *(["no-such-file"] if command == "evaluate" else []), "--bits", "5"]
    assert main(words) == 2
    assert "bits is 5. Weights are kept in 32, 16, 8 or 4 bits." in capsys.readouterr().err


def test_what_cannot_be_kept_is_refused_before_the_work(place: Path, capsys: Capture) -> None:
    assert "--bits is 32" in ask(capsys, "evaluate", str(place), "no-such-file", "--keep", code=2)
    words = ("evaluate", str(place), "no-such-file", "--task", "choices", "--bits", "8", "--keep")
    assert "the task is 'choices'" in ask(capsys, *words, code=2)


@pytest.mark.parametrize("name", ["stories", "stories-chat", "stories-hybrid"])
def test_bundled_models_have_records(name: str) -> None:
    """How they were measured: cutaway evaluate NAME FILE --bits 8 --keep, with --separator "<|endoftext|>" for a text."""
    fact = json.loads((bundled_models()[name] / RECORD).read_text("utf-8"))["8"]
    assert fact["tokens"] > 5000
    assert fact["bits_per_byte"] <= fact["in_full_precision"] * 1.005
    assert usual_bits(name) == (32 if isinstance(kernels.integers(), str) else 8)
