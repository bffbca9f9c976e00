"""The native library itself: built or not built, admitted or refused, and always with a reason."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from cutaway.runtime.native import build
from cutaway.runtime.native.loader import Heads, Library, Shape, library, supported
from tests.runtime.apart import printed

has_sets = pytest.mark.skipif(not supported(), reason="This processor has no instruction set with kernels.")


def test_turned_off_a_model_stays_as_it_is() -> None:
    code = (
        "import torch; from cutaway.runtime import kernels; from torch import nn\n"
        "reason = kernels.accelerate(nn.Linear(2, 2)); assert 'CUTAWAY_KERNELS' in reason, reason\n"
        "x = torch.ones(100, 4); print(kernels.linear(x, x[:3], None).sum().item())"
    )
    assert printed(code, CUTAWAY_KERNELS="off") == "1200.0"


@has_sets
@pytest.mark.parametrize("name", supported())
def test_every_instruction_set_of_this_processor_computes(name: str) -> None:
    code = "from cutaway.runtime.native.loader import library; print(library().instructions)"
    assert printed(code, CUTAWAY_KERNELS=name) == name


def test_an_instruction_set_that_is_not_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.runtime.native.loader.supported", list)
    answer = library.__wrapped__()
    assert isinstance(answer, str)


def test_a_missing_compiler_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert build.build(tmp_path / "kernels.so") is not None
    assert not list(tmp_path.iterdir())


@has_sets
def test_a_failed_compilation_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "COMMON", ("--no-such-option",))
    reason = build.build(tmp_path / "kernels.so")
    assert reason is not None
    assert "no-such-option" in reason
    assert not list(tmp_path.iterdir())


@has_sets
def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.runtime.native.loader.fingerprint", lambda: "another")
    answer = library.__wrapped__()
    assert isinstance(answer, str)
    assert "other sources" in answer


@has_sets
def test_a_library_that_computes_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Library, *_: object) -> None:
        self.product = lambda *_: None

    assert not isinstance(library.__wrapped__(), str), "a sound one leaves its answer in memory that is then free"
    monkeypatch.setattr(Library, "__init__", nothing)
    assert library.__wrapped__() == "their self-test failed"


def test_the_structures_are_as_long_as_in_c() -> None:
    assert (ctypes.sizeof(Shape), ctypes.sizeof(Heads)) == (6 * 8 + 3 * 4 + 4, 4 * 8)
