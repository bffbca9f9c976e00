"""Hub ids: told apart from paths, fetched without code, and every refusal is one message. Nothing here reaches the network."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

import cutaway
from cutaway.errors import CutawayError
from cutaway.finding import bundled_models
from cutaway.weights import hub


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def answer(monkeypatch: pytest.MonkeyPatch, download: Callable[..., str]) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub.is_hub_id("EleutherAI/pythia-14m")
    for name in ("stories", "runs/mine", "./a/b", "/a/b", "a/b/c", "../a", "a/", "~/a", "a/-b", "a b/c"):
        assert not hub.is_hub_id(name), name


@pytest.mark.parametrize("weights", ["model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin"])
def test_data_is_fetched_and_no_code(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "owner/name"
        asked.extend(allow_patterns)
        if any(Path(weights).match(pattern) for pattern in allow_patterns):
            (tmp_path / weights).touch()
        return str(tmp_path)

    answer(monkeypatch, download)
    assert hub.fetch("owner/name") == tmp_path
    assert not any(Path(name).match(pattern) for pattern in asked for name in ("modeling_x.py", "x.pkl", "x.bin"))


def test_a_model_of_the_hub_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shutil.copytree(bundled_models()["stories"], tmp_path / "snapshot")
    answer(monkeypatch, lambda *_, **__: str(place))
    monkeypatch.chdir(tmp_path)
    assert cutaway.load("owner/stories").generate("Once upon a time", max_tokens=2)


def raised(kind: type[Exception], text: str) -> Exception:
    """An error of the hub without the answer that it came from."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (raised(errors.GatedRepoError, "x"), "is gated"),
        (raised(errors.RepositoryNotFoundError, "x"), "has no model 'owner/name'"),
        (raised(errors.HfHubHTTPError, "bad gateway"), "bad gateway"),
        (errors.LocalEntryNotFoundError("offline"), "Check the connection"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_every_refusal_is_one_message(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error

    answer(monkeypatch, download)
    with pytest.raises(CutawayError, match=message):
        hub.fetch("owner/name")


def test_a_repository_without_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, lambda *_, **__: str(tmp_path))
    with pytest.raises(CutawayError, match="holds no weights"):
        hub.fetch("owner/name")


def test_a_local_model_reaches_nowhere() -> None:
    assert cutaway.load("stories").generate("Once", max_tokens=1)
