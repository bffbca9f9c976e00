"""What a test may ask for: the tokens that recorded plans ran."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from cutaway.runtime.plans import Pass, Plan


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of every pass that a plan ran."""
    seen, original = list[int](), Plan.run

    def counted(self: Plan, asked: Pass, *rest: Any) -> Tensor:
        seen.extend(asked.ids)
        return original(self, asked, *rest)

    monkeypatch.setattr(Plan, "run", counted)
    return seen
