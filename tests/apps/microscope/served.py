"""A microscope under test. In: a model. Out: a server on a free port, in a thread of its own, and what a client receives."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway.apps.microscope.desk import Desk
from cutaway.apps.microscope.routes import answer
from cutaway.apps.microscope.server import Server
from cutaway.apps.microscope.shelf import Shelf
from cutaway.config import ModelConfig, StackConfig, TokenIds
from cutaway.lm import LM
from cutaway.text import train_tokenizer
from tests import tiny

BYTES = train_tokenizer("byte", [])
TEXT = "the cat saw a cat"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def matrix(self) -> Tensor:
        """[query, key], or as many rows and columns as it has."""
        rows, columns = map(int, self.headers["X-Shape"].split(","))
        return torch.from_numpy(np.frombuffer(self.data, "<f4").copy()).reshape(rows, columns)


@dataclass
class Client:
    """One connection, kept open."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request. headers: with _ for -."""
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.connection.request(method, path, body=body, headers=given)
        response = self.connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())

    def get(self, path: str, **query: Any) -> Reply:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.ask("GET", f"{path}?{text}" if text else path)

    def post(self, path: str, **body: Any) -> Reply:
        return self.ask("POST", path, json.dumps(body).encode())

    def run(self, text: str = TEXT, **rest: Any) -> dict[str, Any]:
        """A run that succeeds."""
        found = self.post("/api/run", text=text, **rest)
        assert found.status == 200, found.data
        return dict(found.json)


class Served(Server):
    """A server whose desk can be looked at."""

    def __init__(self, desk: Desk, token: str | None) -> None:
        self.desk = desk
        super().__init__(partial(answer, desk), "127.0.0.1", 0, token)


@contextmanager
def served(lm: LM | str, *, token: str | None = None, **knobs: Any) -> Iterator[tuple[Client, Served]]:
    """A server of one model and a client of it. knobs: of the desk."""
    server = Served(Desk(Shelf(lm), **knobs), token)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    client = Client(server.port)
    try:
        yield client, server
    finally:
        client.connection.close()
        server.shutdown()
        thread.join()
        server.server_close()


def one_stack(stack: StackConfig | None = None, **knobs: Any) -> LM:
    """A decoder over bytes."""
    return LM(tiny.model(one_config(stack, **knobs), seed=4), BYTES, "tiny")


def one_config(stack: StackConfig | None = None, **knobs: Any) -> ModelConfig:
    """Its architecture."""
    ids = TokenIds(bos=BYTES.roles.bos)
    return tiny.config(decoder=stack, vocab_size=BYTES.vocab_size, tokens=ids, **knobs)


def reader(stack: StackConfig | None = None, **knobs: Any) -> LM:
    """An encoder over bytes."""
    config = tiny.config(encoder=stack or tiny.stack(), vocab_size=BYTES.vocab_size, **knobs)
    return LM(tiny.model(config, seed=4), BYTES, "reader")


def two_stacks() -> LM:
    """An encoder and a decoder over bytes."""
    ids = TokenIds(decoder_start=BYTES.roles.bos, eos=BYTES.roles.eos)
    stacks = {"encoder": tiny.stack(), "decoder": tiny.stack(num_layers=3)}
    config = tiny.config(**stacks, vocab_size=BYTES.vocab_size, tokens=ids, embedding_scale=5.0)
    return LM(tiny.model(config, seed=4), BYTES, "pair")
