"""`cutaway open`: the microscope in the browser. In: a model and a text. Out: an address, served until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command

if TYPE_CHECKING:
    from ..microscope.opening import Opening
    from ..microscope.server import Server
    from ..microscope.wire import Answering

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
    """Serve until Ctrl-C. The page comes at once, what it shows as soon as the model is open."""
    import webbrowser

    from ..microscope.opening import Opening

    opening = Opening(lambda: _opened(arguments.model, arguments.also, arguments.text))
    token = token_of(arguments.host, arguments.token)
    with listen(opening, arguments.host, arguments.port, token) as server:
        opening.begin()
        if not all(map(is_at_hand, [arguments.model, *arguments.also])):
            opening.wait()  # what is nowhere is said before an address is
        address = address_of(arguments.host, server.port, token)
        try:
            print(f"{arguments.model} is open at {address}  Ctrl-C ends it.", flush=True)
            if not arguments.no_browser:
                webbrowser.open(address)
            server.serve_forever()
        except KeyboardInterrupt:
            print(flush=True)
            if not server.hang_up(SECONDS) or not opening.wait(SECONDS):
                os._exit(0)  # a pass under way cannot be stopped, and Python would end within it, with a crash
    return 0


def _opened(model: str, also: Sequence[str], text: str) -> Answering:
    """What answers about a model, which is open then, and those beside it. Raises CutawayError for one that cannot be opened."""
    from functools import partial

    from ..microscope.desk import Desk
    from ..microscope.routes import answer
    from ..microscope.shelf import Shelf

    desk = Desk(Shelf(model, also), text)
    for name in also:
        desk.shelf.config(name)
    desk.shelf.open()
    return partial(answer, desk)


def is_at_hand(name: str) -> bool:
    """Whether a model of this name is on this machine, by a look that imports nothing heavy; it may be damaged all the same."""
    from importlib.resources import files
    from pathlib import Path

    places = [Path(name).expanduser(), Path(str(files("cutaway"))) / "models" / name]
    return any((place / kind).is_file() for place in places for kind in ("config.json", "recipe.json")) or (
        places[0].suffix == ".gguf" and places[0].is_file()
    )


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


def listen(opening: Opening, host: str, port: int | None, token: str | None) -> Server:
    """A server at the port, or at the first free one from the usual on. Raises CutawayError for one that is taken."""
    from ..microscope.server import Server

    if port is not None and not 0 <= port < 2**16:
        raise CutawayError(f"--port is {port}. Ports run from 1 to {2**16 - 1}; 0 takes any that is free.")
    tried = [port] if port is not None else range(PORT, PORT + NUM_TRIED)
    for each in tried:
        try:
            return Server(opening.answer, host, each, token, opening.check)
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
