"""A microscope that answers while a test looks. In: a model. Out: an address, and a server that can be ended and begun anew."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cutaway.apps.microscope.desk import Desk
from cutaway.apps.microscope.routes import answer
from cutaway.apps.microscope.server import Server
from cutaway.apps.microscope.shelf import Shelf

TEXT = "The cat and the dog sat"


class Ended(Server):
    """A server whose open connections can be cut, as the end of its process cuts them."""

    def __init__(self, *arguments: Any) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def cut(self) -> None:
        """Cut every connection."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Serving:
    """A server in a thread of its own."""

    def __init__(self, model: str | Path, *also: str | Path, text: str = TEXT) -> None:
        self.models, self.text, self.port = [str(model), *map(str, also)], text, 0
        self.begin()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def begin(self) -> None:
        """Listen, at the port of before if there was one; nothing that was answered is remembered."""
        desk = Desk(Shelf(self.models[0], self.models[1:]), self.text)
        self.server = Ended(partial(answer, desk), "127.0.0.1", self.port)
        self.port = self.server.port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Close the port and every connection."""
        self.server.shutdown()
        self.server.server_close()
        self.server.cut()
        self.thread.join()


@contextmanager
def serving(model: str | Path, *also: str | Path, text: str = TEXT) -> Iterator[Serving]:
    """A server that ends with the test."""
    server = Serving(model, *also, text=text)
    try:
        yield server
    finally:
        server.end()
