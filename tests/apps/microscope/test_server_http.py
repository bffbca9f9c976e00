"""The server answers its page and nobody else; what is wrong is said; connections, threads and files behave."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from cutaway.apps.microscope import routes, server
from cutaway.apps.microscope.asks import AskNothing
from cutaway.apps.microscope.files import texts
from cutaway.apps.microscope.guard import hosts_of
from cutaway.apps.microscope.server import Server
from cutaway.apps.microscope.wire import Lines, json_bytes
from cutaway.errors import CutawayError

from .served import TEXT, Client, one_stack, served

RUN = json.dumps({"text": TEXT}).encode()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Client, Server]]:
    with served(one_stack()) as pair:
        yield pair


@pytest.fixture
def client(shared: tuple[Client, Server]) -> Client:
    return Client(shared[1].port)


def test_the_page_and_its_files(client: Client) -> None:
    page = client.get("/")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert not any(word in policy for word in ("unsafe", "http", "*"))
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    for path in texts():
        found = client.get(f"/{path}")
        assert found.status == 200
        assert found.headers["Content-Type"].startswith(
            {"js": "text/javascript", "css": "text/css"}.get(path.rsplit(".")[-1], "text/html")
        )
        again = client.ask("GET", f"/{path}", If_None_Match=found.headers["ETag"])
        assert (again.status, again.data) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/../routes.py", "/static/index.html", "/%2e%2e/routes.py", "/core/../../routes.py", "//etc/passwd", "/etc/passwd",
     "/index.html/", "/.", "/core", "/\\..\\routes.py", "/x\0y", "/api", "/api/", "/api/nothing", "/api/../index.html"],
)  # fmt: skip
def test_there_is_nothing_at_other_addresses(client: Client, path: str) -> None:
    found = client.ask("GET", quote(path, safe="/%\\"))
    assert found.status == 404
    assert "nothing at" in found.json["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:PORT"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:PORT"},  # another origin than the host that was asked
        {"origin": "http://evil.example"},
        {"HOST": "evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_strangers_are_refused(client: Client, headers: dict[str, str]) -> None:
    given = {name: value.replace("PORT", str(client.port)) for name, value in headers.items()}
    for method, path in (("GET", "/api/models"), ("POST", "/api/run")):
        found = client.ask(method, path, RUN if method == "POST" else None, **given)
        assert found.status == 403
        assert set(found.json) == {"error"}
    assert client.get("/api/models").status == 200, "the connection serves on"


def test_its_own_page_and_no_page_are_answered(client: Client) -> None:
    own = f"127.0.0.1:{client.port}"
    for headers in ({}, {"Origin": f"http://{own}"}, {"Sec_Fetch_Site": "same-origin"}, {"Host": own.upper()}):
        assert client.ask("POST", "/api/run", RUN, **headers).status == 200
    for name in ("localhost", "[::1]"):
        headers = {"Host": f"{name}:{client.port}", "Origin": f"http://{name}:{client.port}"}
        assert client.ask("GET", "/api/models", **headers).status == 200
    assert client.ask("GET", "/", Sec_Fetch_Site="cross-site").status == 200, "other pages may link to it"


def test_elsewhere_a_token_is_needed() -> None:
    with served(one_stack(), token="s3cret") as (client, _):
        for path in ("/", "/app.js", "/api/models", "/?token=", "/?token=wrong", "/api/models?token=s3cret"):
            assert client.get(path).status in (403,), path
        page = client.get("/?token=s3cret")
        assert page.status == 200
        cookie = page.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        kept = cookie.partition(";")[0]
        assert client.ask("GET", "/api/models", Cookie=kept).status == 200
        assert client.ask("POST", "/api/run", RUN, Cookie=f"other=1; {kept}").status == 200
        assert client.ask("GET", "/api/models", Cookie="cutaway_token=wrong").status == 403
        assert client.ask("GET", "/api/models", Cookie=kept, Origin="http://evil.example").status == 403


def test_the_hosts_of_a_server() -> None:
    assert hosts_of("192.0.2.7", 80, needs_token=True) == {"127.0.0.1:80", "localhost:80", "[::1]:80", "192.0.2.7:80"}
    assert hosts_of("0.0.0.0", 80, needs_token=True) is None
    assert hosts_of("0.0.0.0", 80, needs_token=False) is not None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        (b'{"text": 5}', "'text' is 5. It takes a text"),
        (b'{"txt": "a"}', "Unknown key 'txt'. Did you mean 'text'"),
        (b"{}", "'text' is missing"),
        (b'{"text": ""}', "Nothing to look at yet"),
        (b'{"text": "a", "model": "nix"}', "'nix' is not open here"),
        (b'{"text": "a", "model": "/etc"}', "'/etc' is not open here"),
        (b'{"text": "a", "model": "owner/name"}', "is not open here"),
        (b'{"text": "a\\ud800b"}', "lone surrogate U\\+D800"),
        (b'{"text": "a", "target": "b"}', "one stack"),
        (b'{"text": "a", "positions": 1}', "true or false"),
        (b'{"text": "a", "more": [99999]}', "ids are numbered from 0 to"),
        (b'{"text": "a", "more": [-1]}', "ids are numbered from 0 to"),
        (b'{"text": "a", "edits": [5]}', "An edit is 5"),
        (b'{"text": "a", "edits": [{"site": "layers.0.attention.mixde", "op": "zero"}]}', "attention.mixed"),
        (
            b'{"text": "a", "edits": [{"site": "layers.0.attention.mixed", "op": "zero", "heads": [9]}]}',
            "heads names 9",
        ),
    ],
)
def test_a_wrong_request_is_told_why(client: Client, body: bytes, words: str) -> None:
    found = client.ask("POST", "/api/run", body)
    assert found.status == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.json["error"])
    assert client.ask("POST", "/api/run", RUN).status == 200, "the connection serves on"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/tensor?run=RUN", "'site' is missing"),
        ("/api/tensor?run=RUN&site=nix", "no site 'nix'"),
        ("/api/tensor?run=RUN&site=layers.9.attention.weights&index=0", "layer is 9"),
        ("/api/tensor?run=RUN&site=layers.-1.attention.weights&index=0", "no site"),
        ("/api/tensor?run=RUN&site=layers.0.attention.weights", "index of one number"),
        ("/api/tensor?run=RUN&site=layers.0.attention.weights&index=4", "head is 4"),
        ("/api/tensor?run=RUN&site=layers.0.attention.query&index=-1", "index is '-1'"),
        ("/api/tensor?run=RUN&site=layers.0.attention.query&index=4", "numbered from 0 to 3"),
        ("/api/tensor?run=RUN&site=layers.0.cross.weights&index=0", "no cross-attention"),
        ("/api/tensor?run=RUN&site=embedding.sum&rows=4:4", "rows is '4:4'"),
        ("/api/tensor?run=RUN&site=embedding.sum&rows=99:100", "numbered from 0 to 16"),
        ("/api/tensor?run=RUN&site=embedding.sum&rows=a:b", "begin:end"),
        ("/api/tensor?run=RUN&site=embedding.sum&rows=0:" + "9" * 5000, "begin:end"),
        ("/api/tensor?run=RUN&site=layers.0.attention.query&index=" + "9" * 5000, "index of one number"),
        ("/api/tensor?run=RUN&site=embedding.sum&level=" + "9" * 5000, "whole number"),
        ("/api/tensor?run=RUN&site=embedding.sum&level=-1", "level is -1"),
        ("/api/tensor?run=RUN&site=embedding.sum&level=99", "level is 99"),
        ("/api/tensor?run=RUN&site=embedding.sum&level=x", "whole number"),
        ("/api/tensor?run=RUN&site=layers.0.attention.scores&index=0&level=1", "not pooled"),
        ("/api/tensor?run=RUN&site=weights.layers.0.attention.nix&index=0", "no learned numbers"),
        ("/api/logits?run=RUN&token=17", "token is 17"),
        ("/api/vocabulary?model=nix", "not open here"),
        ("/api/memory?bits=7", "bits is 7"),
        ("/api/memory?cache=maybe", "true or false"),
        ("/api/memory?context=0", "context is 0"),
        ("/api/memory?batch=0", "batch is 0"),
    ],
)
def test_a_wrong_query_is_told_why(client: Client, path: str, words: str) -> None:
    run = client.run()["run"]
    found = client.ask("GET", path.replace("RUN", run))
    assert found.status == 400
    assert words in found.json["error"]


def test_a_run_that_is_not_known_is_asked_for_anew(client: Client) -> None:
    run = client.run()
    with served(one_stack()) as (other, _):
        assert other.get("/api/tensor", run=run["run"], site="embedding.sum").status == 404
        assert other.post("/api/heads", run=run["run"], token=0).status == 404
        assert other.run()["run"] == run["run"], "the same request is the same run after a restart"


def test_bodies_are_bounded(client: Client) -> None:
    longest = b'{"text": "' + b"a" * (2**20 - 12) + b'"}'
    assert len(longest) == 2**20
    assert client.ask("POST", "/api/run", longest).status == 200
    found = client.ask("POST", "/api/run", longest + b" ")
    assert (found.status, found.headers["Connection"]) == (413, "close")
    for header in ("Transfer-Encoding: chunked", "Content-Length: -5", f"Content-Length: {'9' * 5000}", "X: y"):
        assert b" 411 " in raw(
            client.port, f"POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n{header}\r\n\r\n"
        )


def raw(port: int, text: str) -> bytes:
    """What comes back for bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode())
        found = b""
        while part := connection.recv(65536):
            found += part
    return found


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.Handler, "timeout", 0.2)
    with served(one_stack()) as (client, _):
        text = f"POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: 100\r\n\r\n{{"
        assert raw(client.port, text) == b""
        assert client.get("/api/models").status == 200


def test_clients_at_once_receive_what_each_receives_alone(shared: tuple[Client, Server]) -> None:
    port = shared[1].port
    words = [f"a text of number {index}" for index in range(4)]
    alone = {}
    with served(one_stack()) as (client, _):
        for text in words:
            alone[text] = everything(client, text)
    found: dict[int, Any] = {}

    def ask(index: int) -> None:
        found[index] = everything(Client(port), words[index % 4])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[index] == alone[words[index % 4]] for index in range(8))


def everything(client: Client, text: str) -> list[Any]:
    """Some answers about a text, without what differs from time to time."""
    run = client.run(text)
    seconds = run.pop("seconds")
    assert seconds > 0
    where = {"run": run["run"], "token": 3}
    lines = client.post("/api/generate", run=run["run"], sampling={"temperature": 1, "seed": 3}, max_tokens=6).data
    return [
        run,
        client.get("/api/tensor", run=run["run"], site="layers.1.attention.weights", index=1).data,
        client.post("/api/heads", **where).json,
        client.post("/api/rollout", **where, column=2).json,
        lines.splitlines()[:-1],
    ]


def test_a_reader_that_has_gone_ends_what_is_written_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(*_: object) -> Lines:
        def lines() -> Iterator[dict[str, str]]:
            try:
                while True:
                    yield {"text": "a" * 1000}
            finally:
                ended.set()

        return Lines(lines=lines())  # type: ignore[arg-type]

    monkeypatch.setitem(routes.POSTS, "/api/endless", (AskNothing, endless))  # type: ignore[arg-type]
    with served(one_stack()) as (client, _):
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
        connection.request("POST", "/api/endless", body=b"{}")
        response = connection.getresponse()
        assert len(response.read(5000)) == 5000
        response.close()
        connection.close()
        assert ended.wait(20)
        assert client.get("/api/models").status == 200


def test_what_goes_wrong_on_the_way_is_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*_: object) -> Lines:
        def lines() -> Iterator[dict[str, str]]:
            yield {"text": "a"}
            raise CutawayError("The logits are not numbers.")

        return Lines(lines=lines())  # type: ignore[arg-type]

    monkeypatch.setitem(routes.POSTS, "/api/breaking", (AskNothing, breaking))  # type: ignore[arg-type]
    with served(one_stack()) as (client, _):
        found = client.ask("POST", "/api/breaking", b"{}")
        assert found.data.splitlines() == [b'{"text":"a"}', b'{"error":"The logits are not numbers."}']
        assert client.get("/api/models").status == 200, "the connection serves on"


def test_what_comes_twice_is_refused(client: Client) -> None:
    own = f"127.0.0.1:{client.port}"
    for headers in (
        [f"Host: {own}", "Host: evil.example"],
        [f"Host: {own}", f"Host: {own}"],
        [f"Host: {own}", "Origin: http://evil.example", f"Origin: http://{own}"],
        [f"Host: {own}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"],
    ):
        lines = ["GET /api/models HTTP/1.1", *headers, "Connection: close", "", ""]
        assert b" 403 " in raw(client.port, "\r\n".join(lines)), headers


def test_a_defect_is_an_answer_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> Lines:
        raise RuntimeError("oh")

    monkeypatch.setitem(routes.POSTS, "/api/broken", (AskNothing, broken))  # type: ignore[arg-type]
    with served(one_stack()) as (client, _):
        found = client.ask("POST", "/api/broken", b"{}")
        assert found.status == 500
        assert "defect of Cutaway: RuntimeError: oh" in found.json["error"]
        assert client.get("/api/models").status == 200
    assert "Traceback" in capfd.readouterr().err


def test_answers_are_packed_where_they_leave_this_machine(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = client.ask("GET", "/api/vocabulary", Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    monkeypatch.setattr(server.Handler, "_is_far", lambda _: True)
    packed = client.ask("GET", "/api/vocabulary", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 2
    assert "Content-Encoding" not in client.ask("GET", "/api/vocabulary").headers


def test_what_is_no_number_is_null() -> None:
    found = json.loads(json_bytes({"a": [float("nan"), 1.5, (float("inf"),)], "b": "\ud800"}))
    assert found == {"a": [None, 1.5, [None]], "b": "?"}


def test_what_is_no_request_of_a_page_is_an_error_too(client: Client) -> None:
    for method in ("PUT", "DELETE", "OPTIONS"):
        found = client.ask(method, "/api/models")
        assert found.status == 501
        assert found.json == {"error": "The request is not understood (501)."}
    assert b" 400 " in raw(client.port, f"GET http://[x HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n\r\n")
    assert b"not understood (400)" in raw(client.port, "nonsense with too many words here\r\n\r\n")
