"""`cutaway open`: an address, a browser, Ctrl-C; and one clear message with exit code 2 for what cannot be."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from cutaway.apps.cli import main, make_parser
from cutaway.apps.cli import open as command
from cutaway.apps.microscope.opening import Opening
from cutaway.apps.microscope.server import Server
from cutaway.apps.microscope.shelf import Shelf
from cutaway.apps.microscope.wire import Answering, json_body
from cutaway.errors import CutawayError
from cutaway.lm import load
from tests.apps.small import saved
from tests.text.samples import trained
from tests.weights import gguf_files, theirs

from .served import Client


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was sent to; serving ends at once, as by Ctrl-C."""
    found: list[str] = []
    monkeypatch.setattr(webbrowser, "open", found.append)

    def interrupted(server: Server) -> None:
        server.answer("GET", "/api/models", {}, b"")  # what is asked waits until the model is open
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    return found


def unmade() -> Answering:
    raise AssertionError("nothing is set up where nothing begins")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_it_prints_its_address_and_opens_it(
    opened: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = saved(tmp_path / "mine")
    assert main(["open", str(model), "a cat", "--port", "0"]) == 0
    said = capsys.readouterr().out
    found = re.fullmatch(rf"{re.escape(str(model))} is open at (http://localhost:\d+/)  Ctrl-C ends it\.\n\n", said)
    assert found is not None, said
    assert opened == [found[1]]
    assert main(["open", str(model), "--port", "0", "--no-browser"]) == 0
    assert len(opened) == 1


def test_a_named_port_that_is_taken_names_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["open", "stories", "--port", str(port), "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert re.search(rf"port {port} cannot be used: .*in use\. The next free port is \d+: --port \d+\n", said)
    assert said.count("\n") == 1


def test_the_usual_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(command, "PORT", port)
        with command.listen(Opening(unmade), "127.0.0.1", None, None) as server:
            assert port < server.port < port + command.NUM_TRIED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["storise"], "There is no model 'storise'.*Did you mean 'stories'"),
        (["stories", "--also", "nix"], "There is no model 'nix'"),
        (["stories", "--port", "99999"], "--port is 99999. Ports run from 1 to 65535"),
        (["stories", "--host", "192.0.2.1", "--port", "0"], "192.0.2.1 port 0 cannot be used"),
        (["stories", "--host", "no such host", "--port", "0"], "no such host port 0 cannot be used"),
        (["stories", "--token", "a b"], "--token is 'a b'"),
    ],
)
def test_what_cannot_be_is_one_message(
    words: list[str], message: str, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["open", "--no-browser", *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert said.startswith("cutaway open: ")
    assert opened == []


def test_the_page_is_served_before_the_model_is_open_and_what_it_asks_waits() -> None:
    may_go = threading.Event()

    def made() -> Answering:
        assert may_go.wait(30)
        return lambda method, path, query, body: json_body([method, path, dict(query), body.decode()])

    opening = Opening(made)
    with command.listen(opening, "127.0.0.1", 0, None) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        opening.begin()
        client = Client(server.port)
        assert client.get("/").status == 200
        assert client.get("/app.js").status == 200
        assert not opening.wait(0)
        client.connection.request("GET", "/api/models?a=1")
        may_go.set()
        assert json.loads(client.connection.getresponse().read()) == ["GET", "/api/models", {"a": "1"}, ""]
        assert opening.wait(0)
        client.connection.close()
        server.shutdown()


def test_a_damaged_model_is_said_to_the_page_and_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "mine")
    (model / "model.safetensors").write_bytes(b"not weights")
    seen, actions = [], Server.service_actions

    def ask_first(server: Server) -> None:
        with pytest.raises(CutawayError) as refused:
            server.answer("GET", "/api/models", {}, b"")
        seen.append(refused.value)
        actions(server)

    monkeypatch.setattr(Server, "service_actions", ask_first)
    assert main(["open", str(model), "--port", "0", "--no-browser"]) == 2
    said = capsys.readouterr()
    assert "is open at" in said.out
    assert said.err == f"cutaway open: {seen[0]}\n"
    assert "model.safetensors" in said.err


def test_another_host_gets_a_token_and_this_one_none() -> None:
    assert command.address_of("127.0.0.1", 80, None) == "http://localhost:80/"
    assert command.address_of("192.0.2.7", 80, "t") == "http://192.0.2.7:80/?token=t"
    assert command.address_of("::1", 80, None) == "http://[::1]:80/"
    assert command.address_of("0.0.0.0", 80, "t") == f"http://{socket.gethostname()}:80/?token=t"
    _, commands = make_parser()
    given = commands["open"].parse_args([])
    assert command.token_of(given.host, given.token) is None
    assert command.token_of("localhost", None) is None
    made = {command.token_of("0.0.0.0", None) for _ in range(3)}
    assert len(made) == 3
    assert all(token is not None and len(token) >= 20 for token in made)
    assert command.token_of("127.0.0.1", "mine") == "mine"


def test_the_model_of_a_directory_a_file_and_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = saved(tmp_path / "mine")
    shelf = Shelf(str(model))
    assert (shelf.open().kind, shelf.open().file_name) == ("decoder", "mine")
    run = tmp_path / "runs" / "tale"
    for step in (10, 200):
        saved(run / "checkpoints" / f"step-{step:08d}")
    (run / "recipe.json").write_text("{}")
    assert shelf.names()[-3:] == ["runs/tale", "runs/tale@200", "runs/tale@10"]
    assert shelf.open("runs/tale@10").lm.place == Path("runs/tale/checkpoints/step-00000010")
    with pytest.raises(CutawayError, match=r"no checkpoint of step 11\. It has: 10, 200\."):
        Shelf("runs/tale@11").open()
    with pytest.raises(CutawayError, match=r"'nix' is not open here"):
        shelf.open("nix")


def of_transformers(directory: Path) -> Path:
    """A directory that transformers wrote, with a tokenizer."""
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokenizer = trained("bpe")
    config = LlamaConfig(vocab_size=tokenizer.vocab_size, num_key_value_heads=2, max_position_embeddings=64, **sizes)
    theirs.random(LlamaForCausalLM, config).save_pretrained(directory)
    tokenizer.save(directory)
    return directory


def trained_run(directory: Path) -> Path:
    """A run of the user's own training, of which the newest checkpoint counts."""
    saved(directory / "checkpoints" / "step-00000010")
    (directory / "recipe.json").write_text("{}")
    return directory


@pytest.mark.parametrize(
    "make", [saved, gguf_files.saved, of_transformers, trained_run], ids=lambda make: make.__name__
)
def test_every_kind_of_model_is_opened(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make(tmp_path)
    assert command.is_at_hand(str(place)), "so that the page comes before torch"
    answers: list[dict[str, Any]] = []

    def ask_and_end(server: Server) -> None:
        found = server.answer("POST", "/api/run", {}, json.dumps({"text": "the cat saw"}).encode())
        answers.append(json.loads(found.data))  # type: ignore[union-attr]
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", ask_and_end)
    assert main(["open", str(place), "--port", "0", "--no-browser"]) == 0, capsys.readouterr().err
    lm = load(str(place))
    logits = lm.logits(lm.ids("the cat saw"))[0, -1]
    assert answers[0]["stacks"][0]["next"][0]["id"] == int(logits.argmax())
    assert answers[0]["model"]["name"] == str(place)


@pytest.mark.parametrize("seconds", [2.0, 0.0], ids=["waited for", "not waited for"])
def test_ctrl_c_ends_it_with_code_0_though_a_text_is_being_written(tmp_path: Path, seconds: float) -> None:
    model, port = saved(tmp_path / "mine"), free_port()
    program = (
        f"import sys; from cutaway.apps.cli import main, open; open.SECONDS = {seconds}; "
        f"sys.exit(main(['open', {str(model)!r}, '--no-browser', '--port', '{port}']))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"is open at http://localhost:" in process.stdout.readline()
        client, idle = Client(port), Client(port)
        assert idle.get("/api/models").status == 200  # a connection that stays open
        ask = {"run": client.run("a cat")["run"], "max_tokens": 1000, "sampling": {"temperature": 1}}
        client.connection.request("POST", "/api/generate", body=json.dumps(ask).encode())
        assert client.connection.getresponse().readline()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
        for each in (client, idle):
            each.connection.close()
    assert (process.returncode, errors) == (0, b"")
