"""`--device` as a person types it: the texts of a processor, on a GPU or on what is taken for one; one message for a mistake."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch

from cutaway.apps.cli import main
from cutaway.decode import static
from cutaway.lm import load
from cutaway.runtime.gpu import room
from tests.gpus import Gpu, gpu

__all__ = ["gpu"]
Capture = pytest.CaptureFixture[str]
STORY = ("Once upon a time", "--max-tokens", "40", "--temperature", "0", "--bits", "32")
LINES = "Hi, I am looking for a restaurant.\nIn San Jose, please.\n/retry\nItalian food.\nYes, please.\n"


def ask(capsys: Capture, *words: str) -> tuple[str, str]:
    """What a command prints and says."""
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def refused(capsys: Capture, *words: str) -> str:
    """The one message of a command that ends with code 2, and prints nothing."""
    capsys.readouterr()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    return shown.err


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("stories", ()),
        ("stories", ("--decoder", "lookup", "--drafts", "4")),
        ("stories", ("--decoder", "draft", "--drafts", "3", "--draft-model", "stories")),
        ("stories-hybrid", ("--decoder", "autoregressive")),
        ("stories-hybrid", ("--drafts", "3")),
        ("stories-hybrid", ("--drafts", "3", "--two-passes")),
        ("stories", ("--cache", "8", "--max-tokens", "12")),
        ("stories", ("--cache", "32")),
    ],
)
def test_a_story_is_the_same_there(model: str, options: tuple[str, ...], gpu: Gpu, capsys: Capture) -> None:
    wanted, _ = ask(capsys, "generate", model, *STORY, *options, "--device", "cpu")
    gpu.use()
    found, _ = ask(capsys, "generate", model, *STORY, *options, "--device", gpu.name)
    assert found == wanted
    assert bool(gpu.sessions) == (options[:2] != ("--cache", "8"))
    assert gpu.num_steps >= (39 if not options else 0)


def test_several_prompts_there(gpu: Gpu, capsys: Capture) -> None:
    words = ("generate", "stories", "The dog", *STORY, "--json", "--device")
    wanted = json.loads(ask(capsys, *words, "cpu")[0])["results"]
    gpu.use()
    found = json.loads(ask(capsys, *words, gpu.name)[0])["results"]
    assert [each["token_ids"] for each in found] == [each["token_ids"] for each in wanted]


def test_a_drawn_story_there_is_that_of_its_seed(gpu: Gpu, capsys: Capture) -> None:
    words = ("generate", "stories", *STORY, "--temperature", "0.8", "--seed", "5", "--device")
    wanted, _ = ask(capsys, *words, "cpu")
    gpu.use()
    assert ask(capsys, *words, gpu.name)[0] == wanted


def test_nobody_says_and_half_numbers_stay_half(gpu: Gpu, capsys: Capture) -> None:
    """The bundled models are stored in 16 bits; 8 bits by themselves are for processors."""
    gpu.use()
    found, _ = ask(capsys, "generate", "stories", *STORY[:-2], "--device", gpu.name)
    assert len(found) > 100
    (session,) = gpu.sessions
    assert session.store.keys[0].dtype == torch.bfloat16  # type: ignore[attr-defined]


@pytest.mark.parametrize("most_new", [5, static.MOST_NEW])
def test_a_conversation_there(most_new: int, gpu: Gpu, capsys: Capture) -> None:
    """Also where it outgrows the store that it began with."""
    pytest.importorskip("jinja2")
    words = ("chat", "--temperature", "0", "--bits", "32", "--max-tokens", "60", "--device")

    def held(device: str) -> str:
        gpu.patch.setattr("sys.stdin", io.StringIO(LINES))
        return ask(capsys, *words, device)[0]

    wanted = held("cpu")
    gpu.use()
    gpu.patch.setattr(static, "MOST_NEW", most_new)
    assert held(gpu.name) == wanted
    (session,) = gpu.sessions
    store: Any = session.store
    assert gpu.num_steps > 30
    assert store.length > 64
    assert store.capacity in ((128, 256) if most_new == 5 else (256,)), "the model reads 256"


def test_a_translation_there(gpu: Gpu) -> None:
    wanted = load("translate-de-en").generate("Wo ist der Bahnhof?", max_tokens=40)
    gpu.use()
    assert load("translate-de-en", device=gpu.name, bits=32).generate("Wo ist der Bahnhof?", max_tokens=40) == wanted


@pytest.mark.parametrize("command", [("generate", "stories", "Once"), ("chat",)], ids=["generate", "chat"])
def test_what_cannot_be_is_one_message(
    command: tuple[str, ...], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi"))
    shown = refused(capsys, *command, "--device", "gpu")
    assert shown == f"cutaway {command[0]}: --device is 'gpu'. Allowed: auto, cpu, cuda.\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shown = refused(capsys, *command, "--device", "cuda")
    assert f"--device is 'cuda', and torch {torch.__version__} sees no GPU here" in shown
    assert "take 'cpu' or 'auto'" in shown


@pytest.mark.parametrize("command", [("generate", "stories", "Once"), ("chat",)], ids=["generate", "chat"])
def test_what_a_gpu_cannot_is_one_message(command: tuple[str, ...], gpu: Gpu, capsys: Capture) -> None:
    gpu.patch.setattr("sys.stdin", io.StringIO("Hi"))
    gpu.use()
    words = (*command, "--device", gpu.name)
    for bits in ("8", "4", "5"):
        assert f"bits is {bits}, and the model is to run on a GPU" in refused(capsys, *words, "--bits", bits)
    gpu.patch.setattr(room, "bytes_left", lambda _: 10**6)
    assert "1,000,000 (0.0 GB) are available" in refused(capsys, *words)


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_the_option_stands_among_those_of_the_machine(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    _, _, machine = capsys.readouterr().out.partition("\nmachine:\n")
    assert "--device NAME" in machine.split("\n\n")[0]
