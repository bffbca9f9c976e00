"""What a test may ask for: the tokens that recorded plans ran."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from cutaway.runtime.plans import Plan


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The token of every pass that a plan ran."""
    seen, original = list[int](), Plan.run

    def counted(self: Plan, token_id: int, *rest: Any, **more: Any) -> Tensor:
        seen.append(token_id)
        return original(self, token_id, *rest, **more)

    monkeypatch.setattr(Plan, "run", counted)
    return seen
