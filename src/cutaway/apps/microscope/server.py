"""HTTP. In: what answers and a place to listen. Out: a server that answers the page, and nobody else.

Python's own http.server, one thread a connection, connections kept open. Bodies and waiting times are bounded; every answer
forbids the page to load anything from elsewhere.
"""

from __future__ import annotations

import gzip
import ipaddress
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ...errors import CutawayError
from .files import file_at
from .guard import COOKIE, Guard, hosts_of
from .wire import Answering, Body, Lines, NotHereError, json_body, json_bytes

MOST_BYTES = 2**20  # of a request's body
MOST_IGNORED = 2**24  # bytes that are let pass before a refusal
SECONDS = 60  # without a word, and a connection is closed
GZIP_BYTES = 1400  # what fits in one packet gains nothing
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Server(ThreadingHTTPServer):
    """A microscope that listens. Raises OSError where the port is taken."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there, it would share a port with another program

    def __init__(
        self, answer: Answering, host: str, port: int, token: str | None = None, check: Callable[[], None] | None = None
    ) -> None:
        """token: what everyone who asks must know, None: nothing. check: called now and then; what it raises ends serving."""
        self.answer, self._check = answer, check
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.guard = Guard(hosts=hosts_of(host, self.port, needs_token=token is not None), token=token)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def service_actions(self) -> None:
        """Look whether to go on."""
        if self._check is not None:
            self._check()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A new connection, known before its thread runs."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, from its first request to its last."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def hang_up(self, seconds: float) -> bool:
        """Close every connection, and wait for what is under way. Whether all of it has ended in time."""
        with self._changed:
            for connection in self._open:
                with suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)
            return self._changed.wait_for(lambda: not self._open, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (http.server's signature)
        """A connection that the other side closed is no news; anything else is a defect and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "cutaway", ""
    error_content_type, error_message_format = (
        "application/json",
        '{"error": "The request is not understood (%(code)d)."}',
    )
    timeout = SECONDS
    disable_nagle_algorithm = True  # or each answer's body waits for its headers to be confirmed, 40 ms
    server: Server

    def do_GET(self) -> None:
        """A file, or an answer of numbers."""
        self._serve("GET")

    def do_POST(self) -> None:
        """An answer."""
        self._serve("POST")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal shows the address alone."""

    def _serve(self, method: str) -> None:
        try:
            parts = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        given = None if parts.path.startswith("/api/") else query.pop("token", None)
        is_page = method == "GET" and parts.path == "/"
        refusal = self.server.guard.check(_joined(self.headers), given=given, is_page=is_page)
        body = self._body(method)
        if isinstance(body, HTTPStatus):
            self._refuse(body)
        elif refusal is not None:
            self._say(HTTPStatus.FORBIDDEN, refusal.reason)
        elif parts.path.startswith("/api/"):
            self._answer(method, parts.path, query, body)
        elif method == "GET":
            self._file(parts.path, given)
        else:
            self._say(HTTPStatus.NOT_FOUND, f"There is nothing at {method} {parts.path:.80}.")

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> None:
        try:
            found = self.server.answer(method, path, query, body)
        except NotHereError as error:
            self._say(HTTPStatus.NOT_FOUND, str(error))
        except CutawayError as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            traceback.print_exc()
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, f"This is a defect of Cutaway: {type(error).__name__}: {error}")
        else:
            if isinstance(found, Lines):
                self._stream(found.lines)
            else:
                self._send(HTTPStatus.OK, found, {"Cache-Control": "no-store"})

    def _file(self, path: str, given: str | None) -> None:
        found = file_at(path)
        if found is None:
            self._say(HTTPStatus.NOT_FOUND, f"There is nothing at {path:.80}.")
            return
        headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
        if given is not None and self.server.guard.token is not None:
            headers["Set-Cookie"] = f"{COOKIE}={given}; Path=/; HttpOnly; SameSite=Strict"
        is_known = self.headers.get("If-None-Match") == found.tag
        status = HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK
        self._send(status, Body(data=b"" if is_known else found.data, kind=found.kind), headers)

    def _body(self, method: str) -> bytes | HTTPStatus:
        """The body of the request, or why it is not read."""
        if "Transfer-Encoding" in self.headers:
            return HTTPStatus.LENGTH_REQUIRED
        length = self.headers.get("Content-Length", "0" if method == "GET" else "")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            return HTTPStatus.LENGTH_REQUIRED
        if int(length) > MOST_BYTES:
            self._let_pass(int(length))
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return self.rfile.read(int(length))

    def _let_pass(self, length: int) -> None:
        """Read what is not wanted, within reason: whoever still sends does not hear the answer."""
        for _ in range(0, min(length, MOST_IGNORED), MOST_BYTES):
            self.rfile.read(min(length, MOST_BYTES))
            length -= MOST_BYTES

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer a request whose body was not read, and close."""
        self.close_connection = True
        why = f"The request is refused: {status.phrase.lower()}. Send at most {MOST_BYTES:,} bytes, and say how many."
        self._say(status, why)

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, json_body({"error": sentence}), {"Cache-Control": "no-store"})

    def _send(self, status: HTTPStatus, body: Body, headers: Mapping[str, str]) -> None:
        data = body.data
        more = {"Content-Type": body.kind, **HEADERS, **body.headers, **headers}
        if self._is_far() and len(data) > GZIP_BYTES and "gzip" in self.headers.get("Accept-Encoding", ""):
            data, more["Content-Encoding"] = gzip.compress(data, 5, mtime=0), "gzip"
        if self.close_connection:
            more["Connection"] = "close"
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: Generator[Mapping[str, Any], None, None]) -> None:
        """Line by line, each as soon as it is there. Where the other side has gone, nothing more is made."""
        self.send_response(HTTPStatus.OK)
        more = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked", "Cache-Control": "no-store"}
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        with closing(lines):
            try:
                for line in lines:
                    self._chunk(line)
            except CutawayError as error:
                self._chunk({"error": str(error)})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, line: Mapping[str, Any]) -> None:
        data = json_bytes(line) + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _is_far(self) -> bool:
        """Whether the answer leaves this machine: there, fewer bytes are worth the time that they cost."""
        return not ipaddress.ip_address(self.client_address[0].partition("%")[0]).is_loopback


def _joined(headers: Message) -> dict[str, str]:
    """Headers by their names in small letters; what came several times stands side by side, and is then no host or origin."""
    return {name.lower(): ", ".join(map(str, headers.get_all(name, []))) for name in headers}
