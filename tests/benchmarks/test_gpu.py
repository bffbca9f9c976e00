"""benchmarks/gpu.py runs whole on a processor, says what it cannot do, and gives no figure where a check fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch

ON_CPU = ("--device", "cpu", "--quick", "--no-peer")
Capture = pytest.CaptureFixture[str]


def test_all_of_it_runs(capsys: Capture) -> None:
    import gpu

    code = gpu.main(ON_CPU)
    shown = capsys.readouterr()
    assert shown.err == ""
    for words in (
        "64 greedy tokens",
        "one text (no peer: --no-peer)",
        "of those of the copy",
        "4 texts at once",
        "≥ 70%",
        "≥ 20×",
    ):
        assert words in shown.out, words
    assert code == (1 if "│ no  │" in shown.out else 0)


def test_a_check_that_fails_ends_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(gpu, "equal_tokens", lambda *_: (0.75, 30))
    assert gpu.main(ON_CPU) == 1
    shown = capsys.readouterr()
    assert "have 75% of 64 tokens in common, not all" in shown.err
    assert shown.out == ""
    monkeypatch.setattr(gpu, "equal_tokens", lambda *_: (1.0, 1))
    assert gpu.main(ON_CPU) == 1
    assert "1 different tokens: too few" in capsys.readouterr().err


def test_logits_that_differ_end_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(gpu, "equal_tokens", lambda *_: (1.0, 30))
    monkeypatch.setattr(gpu, "MOST_DIFFERENCE", -1.0)
    assert gpu.main(ON_CPU) == 1
    assert "differ by" in capsys.readouterr().err


def test_memory_is_asked_for_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(gpu, "equal_tokens", lambda *_: (1.0, 30))
    monkeypatch.setattr("cutaway.runtime.gpu.room.bytes_left", lambda _: 10**6)
    monkeypatch.setattr("sides.gpu_ours.random_model", None)
    assert gpu.main(ON_CPU) == 1
    assert "1,000,000 (0.0 GB) are available" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [((), "there is no GPU here"), (("--device", "cpu"), "Add --quick")])
def test_nothing_to_run_on_is_code_2(
    words: Any, message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main(words)
    assert ended.value.code == 2
    assert message.lower() in capsys.readouterr().err.lower()


def test_a_peer_that_is_late_is_left_out() -> None:
    import gpu
    from figure import BenchmarkError

    settings = gpu.parse(("--device", "cpu", "--quick"))
    with pytest.raises(BenchmarkError, match="20 seconds were left"):
        gpu.peer_of(None, settings, lambda: 20.0)
