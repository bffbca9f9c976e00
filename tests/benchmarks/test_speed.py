"""Rows of `cutaway bench --vs llama.cpp` say what its JSON says; what cannot be measured says why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest


def spread(*values: float) -> dict[str, Any]:
    return {
        "median": sorted(values)[len(values) // 2],
        "least": min(values),
        "most": max(values),
        "values": list(values),
    }


def rates(goal: float | None, is_met: bool | None) -> dict[str, Any]:
    return {
        "ours": spread(9, 10, 11),
        "peer": spread(10, 10, 10),
        "ratio": spread(0.9, 1.0, 1.1),
        "goal": goal,
        "is_met": is_met,
    }


COMPARISON = {
    "model": "llama-1.1b",
    "bits": 8,
    "void": None,
    "fits_cache": False,
    "decode": {**rates(1.15, False), "read_share": spread(0.88, 0.9, 0.93), "read_goal": 0.88},
    "prefill": rates(None, None),
}
TOLD = {
    "read_gbps": 20.0,
    "comparisons": [COMPARISON],
    "start": [{"model": "llama-1.1b", "bits": 8, "all": [2.0, 3.5, 2.5]}],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; each answers with TOLD."""
    import speed

    found: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        found.append(words)
        return subprocess.CompletedProcess(words, 0, json.dumps(TOLD), "")

    monkeypatch.setattr(speed.subprocess, "run", run)
    monkeypatch.setattr(speed, "find_spec", lambda _: object())
    return found


def test_rows_are_what_the_command_says(asked: list[list[str]]) -> None:
    import speed
    from figure import Options

    rows = speed.measure(Options(is_quick=False, model="stories"))
    assert asked[0][1:] == ["-m", "cutaway", "bench", "--vs", "llama.cpp", "--json"]
    assert [row.is_met for row in rows] == [None, False, True, None, True]
    assert (rows[1].ratio, rows[1].goal) == ("1.00× (0.90–1.10)", "≥ 1.15×")
    assert (str(rows[1].ours), str(rows[1].peer)) == ("10.0 tokens/s (9.0–11.0)", "10.0 tokens/s")
    assert (rows[2].goal, rows[4].goal) == ("≥ 88%", "≤ 3.00 s")
    assert str(rows[4].ours) == "2.50 s (2.00–3.50)"
    speed.measure(Options(is_quick=True, model="stories"))
    assert "--quick" in asked[1]


def test_what_fits_into_the_cache_is_said() -> None:
    import speed

    assert "in cache" in speed.rows_of({**COMPARISON, "fits_cache": True})[1].name
    assert "in cache" not in speed.rows_of(COMPARISON)[1].name


def test_a_void_comparison_is_no_figure() -> None:
    import speed
    from figure import BenchmarkError

    with pytest.raises(BenchmarkError, match=r"llama-1\.1b: something else"):
        speed.rows_of({**COMPARISON, "void": "something else"})


def test_without_the_peer_it_says_where_it_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import speed
    from figure import BenchmarkError

    monkeypatch.setattr(speed, "find_spec", lambda _: None)
    monkeypatch.setattr(speed, "PEERS", tmp_path / "python")
    with pytest.raises(BenchmarkError, match="make test-peers"):
        speed.ask(())


def test_what_the_command_refuses_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import speed
    from figure import BenchmarkError

    refused = subprocess.CompletedProcess([], 2, "", "cutaway bench: The memory does not suffice.\n")
    monkeypatch.setattr(speed.subprocess, "run", lambda *_, **__: refused)
    monkeypatch.setattr(speed, "find_spec", lambda _: object())
    with pytest.raises(BenchmarkError, match="The memory does not suffice"):
        speed.ask(())
