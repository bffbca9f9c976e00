"""A GPU for tests, or a processor that is taken for one: steps that would be replayed are called there; all else is the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from cutaway.decode import Session, static
from cutaway.model import Transformer
from cutaway.runtime import machine
from cutaway.runtime.gpu import Graphed, move

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
BOTH = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@dataclass
class Gpu:
    """name: of its device. sessions: those opened since whose steps are captured."""

    name: str
    patch: pytest.MonkeyPatch
    sessions: list[Session] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        """How many tokens were captured steps, of all sessions."""
        return sum(each.model.num_steps for each in self.sessions if isinstance(each.model, Graphed))

    def use(self) -> None:
        """From here on, the device is a GPU, and its sessions are noted."""
        if self.name == "cpu":
            self.patch.setattr(machine, "is_gpu", lambda device: True)  # noqa: ARG005 (as it is called)
        original = static.static_session

        def noted(*arguments: Any, **options: Any) -> Session:
            self.sessions.append(original(*arguments, **options))
            return self.sessions[-1]

        self.patch.setattr(static, "static_session", noted)

    def take(self, model: Transformer) -> Transformer:
        """A copy of a model there."""
        twin = copy.deepcopy(model)
        move(twin, torch.device(self.name))
        return twin


@pytest.fixture(params=BOTH)
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU, once it is used."""
    return Gpu(request.param, monkeypatch)
