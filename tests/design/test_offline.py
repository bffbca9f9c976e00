"""The guard of conftest: no test leaves the machine, and a server on this machine can be reached."""

from __future__ import annotations

import socket

import pytest


def test_the_network_is_refused() -> None:
    with pytest.raises(AssertionError, match="offline"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # an address that RFC 5737 keeps for examples


def test_this_machine_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
