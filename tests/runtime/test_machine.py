"""Which device a name stands for, and what is said of one that is not there."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.runtime.machine import find_device, is_gpu


def test_auto_is_the_processor_where_no_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(
        CutawayError, match=r"--device is 'cuda', and torch .* sees no GPU here. .* take 'cpu' or 'auto'"
    ):
        find_device("cuda", "--device")


def test_auto_is_the_gpu_where_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:1", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(CutawayError, match=f"^device is '{name}'. Allowed: auto, cpu, cuda.$"):
        find_device(name)


def test_what_is_a_gpu() -> None:
    assert is_gpu(torch.device("cuda:1"))
    assert not is_gpu(torch.device("cpu"))
