"""The modules of benchmarks/ under their own names, as when benchmarks/run.py runs."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their folder, on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return BENCHMARKS
