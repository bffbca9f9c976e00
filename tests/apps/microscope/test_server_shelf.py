"""Models and runs that are kept: opened once, the oldest put back first, listed with what they are."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cutaway import lessons
from cutaway.apps.microscope.shelf import Shelf
from cutaway.lm import LM

from .served import one_stack, served


def test_runs_that_were_not_used_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.microscope.desk.MOST_RUNS", 2)
    with served(one_stack()) as (client, _):
        first, second = client.run("one")["run"], client.run("two")["run"]
        assert client.post("/api/heads", run=first, token=0).status == 200
        client.run("three")
        assert client.post("/api/heads", run=first, token=0).status == 200
        assert client.post("/api/heads", run=second, token=0).status == 404


def test_models_that_were_not_used_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def load(name: str) -> LM:
        opened.append(name)
        return one_stack()

    monkeypatch.setattr("cutaway.apps.microscope.shelf.load", load)
    monkeypatch.setattr("cutaway.apps.microscope.shelf.MOST_BYTES", 0)
    shelf = Shelf("stories", ["other"])
    for name in ("stories", "stories", "other", "stories"):
        assert shelf.open(name).name == name
    assert opened == ["stories", "other", "stories"]


def test_names_are_listed_with_what_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with served("stories") as (client, _):
        found = client.get("/api/models").json
    kinds = {each["name"]: each["kind"] for each in found["models"]}
    assert kinds["stories"] == "decoder"
    assert kinds["translate-de-en"] == "pair"
    assert found["current"] == "stories"
    assert all("million parameters" in each["note"] for each in found["models"])


def test_the_first_text_is_handed_on() -> None:
    with served(one_stack(), text="hello") as (client, _):
        assert client.get("/api/models").json["text"] == "hello"


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="no model 'nix'"):
        Shelf("nix").open()


def test_one_model_is_read_while_another_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def load(name: str) -> LM:
        if name == "slow":
            reading.set()
            assert go_on.wait(20)
        return one_stack()

    monkeypatch.setattr("cutaway.apps.microscope.shelf.load", load)
    shelf = Shelf("quick", ["slow"])
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(shelf.open("slow"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert reading.wait(20)
    assert shelf.open("quick").name == "quick"
    go_on.set()
    for thread in threads:
        thread.join()
    assert found[0] is found[1], "read once, for both"


def test_runs_of_a_model_that_was_put_back_are_forgotten_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.microscope.shelf.load", lambda _: one_stack())
    monkeypatch.setattr("cutaway.apps.microscope.shelf.MOST_BYTES", 0)
    with served("stories") as (client, server):
        first = client.run("a cat", model="stories")["run"]
        assert client.post("/api/heads", run=first, token=0).status == 200
        client.run("a cat", model="stories-chat")
        assert client.post("/api/heads", run=first, token=0).status == 404
        assert client.run("a cat", model="stories")["run"] == first
        assert list(server.desk.shelf._open) == ["stories"]


def test_lessons_are_read_on_the_model_that_is_open() -> None:
    with served(one_stack()) as (client, _):
        found = client.get("/api/lessons").json["lessons"]
        assert [each["name"] for each in found] == lessons.names()
        assert {"name", "title", "line", "model", "refusal"} == set(found[0])
        assert any(each["refusal"] for each in found), "this one lacks what some lessons need"
        asked = {"name": "token", "model": "stories", "settings": {}}
        assert client.post("/api/lesson", **asked).json == lessons.read("token").as_dict()
        assert client.post("/api/lesson", name="token", model=None).json["model"] == "stories"
        assert "no lesson 'tokn'" in client.post("/api/lesson", name="tokn").json["error"]
        assert client.post("/api/lesson", name="order", model="stories", settings={"x": 1}).status == 400
