"""`cutaway open`: the microscope in the browser. In: a model and a text. Out: an address, served until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command

if TYPE_CHECKING:
    from ..microscope.desk import Desk
    from ..microscope.server import Server

MODEL = "stories"
HOST, PORT = "127.0.0.1", 8642
NUM_TRIED = 20
SECONDS = 2.0  # that passes under way are waited for at the end
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway open stories "The cat sat on the"\n  cutaway open runs/mine@2000 --also runs/mine@500'
    parser = command(commands, "open", "look inside a model, in the browser", example)
    model_help = f"{MODEL_HELP}, or one checkpoint of a run, RUN@STEP (default: {MODEL})"
    parser.add_argument("model", metavar="MODEL", nargs="?", default=MODEL, help=model_help)
    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="what is shown first")
    parser.add_argument(
        "--also", metavar="MODEL", action="append", default=[], help="a model to put beside it; again for more"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"where to listen (default: {PORT}, or the next that is free)"
    )
    parser.add_argument(
        "--host", default=HOST, metavar="H", help=f"the address to listen on (default {HOST}: nobody else)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    parser.add_argument(
        "--token", metavar="T", help="what whoever asks must know (default: none, or one made for another --host)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    import webbrowser

    from ..microscope.desk import Desk
    from ..microscope.shelf import Shelf

    desk = Desk(Shelf(arguments.model, arguments.also), arguments.text)
    for name in arguments.also:
        desk.shelf.config(name)
    token = token_of(arguments.host, arguments.token)
    server = listen(desk, arguments.host, arguments.port, token)
    with server:
        desk.shelf.open()  # what cannot be opened is said before an address is
        address = address_of(arguments.host, server.port, token)
        try:
            print(f"{desk.shelf.current} is open at {address}  Ctrl-C ends it.", flush=True)
            if not arguments.no_browser:
                webbrowser.open(address)
            server.serve_forever()
        except KeyboardInterrupt:
            print(flush=True)
            if not server.hang_up(SECONDS):
                os._exit(0)  # a pass under way cannot be stopped, and Python would end within it, with a crash
    return 0


def token_of(host: str, given: str | None) -> str | None:
    """What whoever asks must know: the one given, one made now where others reach the server, else nothing."""
    if given is not None and not re.fullmatch(r"[A-Za-z0-9._~-]+", given):
        raise CutawayError(
            f"--token is '{given:.40}'. It takes letters, digits and - . _ ~, which an address holds as they are."
        )
    return given or (None if host in LOOPBACK else secrets.token_urlsafe(16))


def address_of(host: str, port: int, token: str | None) -> str:
    """What a browser opens."""
    import socket

    names = {HOST: "localhost", **dict.fromkeys(("", "0.0.0.0", "::"), socket.gethostname())}
    named = names.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{named}:{port}/" + ("" if token is None else f"?token={token}")


def listen(desk: Desk, host: str, port: int | None, token: str | None) -> Server:
    """A server at the port, or at the first free one from the usual on. Raises CutawayError for one that is taken."""
    from ..microscope.server import Server

    if port is not None and not 0 <= port < 2**16:
        raise CutawayError(f"--port is {port}. Ports run from 1 to {2**16 - 1}; 0 takes any that is free.")
    tried = [port] if port is not None else range(PORT, PORT + NUM_TRIED)
    for each in tried:
        try:
            return Server(desk, host, each, token)
        except OSError as error:
            reason = error
    free = _next_free(host, (port or PORT) + 1)
    raise CutawayError(f"{host} port {tried[-1]} cannot be used: {reason.strerror or reason}.{free}")


def _next_free(host: str, first: int) -> str:
    import socket

    for port in range(first, min(first + NUM_TRIED, 2**16)):
        try:
            with socket.create_server((host, port)):
                return f" The next free port is {port}: --port {port}"
        except OSError:
            continue
    return " Name another with --port, or another address with --host."
