"""`cutaway chat` through pipes and at a terminal: replies, commands, Ctrl-C, Ctrl-D, files, and one message for a mistake."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")

from cutaway.apps.chat.commands import COMMANDS
from cutaway.apps.cli import main
from cutaway.config import PositionConfig
from cutaway.decode import Sampling
from cutaway.lm import load
from cutaway.tasks.chat import Conversation, reply
from cutaway.weights import checkpoint
from tests import tiny
from tests.text.samples import sentencepiece, trained

from .typist import CTRL_C, CTRL_D, UP, Typist

Capture = pytest.CaptureFixture[str]
WORDS = ("--max-tokens", "8", "--seed", "3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that at temperature 0 never ends a turn, and that reads 20,000 tokens."""
    directory, tokenizer = tmp_path_factory.mktemp("chat") / "talker", trained("bpe")
    stack = tiny.stack(position=PositionConfig(kind="rotary"))
    model = tiny.model(tiny.config(decoder=stack, vocab_size=tokenizer.vocab_size, context=20_000))
    assert model.head is not None
    model.head.projection.weight[list(tokenizer.roles.named().values())] = 0
    checkpoint.save(directory, model, tokenizer_files=tokenizer.save)
    return str(directory)


def piped(capsys: Capture, patch: pytest.MonkeyPatch, place: str, lines: str, *words: str, code: int = 0) -> Any:
    """(standard output, standard error) of a conversation through a pipe."""
    patch.setattr("sys.stdin", io.StringIO(lines))
    capsys.readouterr()
    assert main(["chat", place, *WORDS, *words]) == code
    return capsys.readouterr()


def objects(capsys: Capture, patch: pytest.MonkeyPatch, place: str, lines: str, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in piped(capsys, patch, place, lines, "--json", *words).out.splitlines()]


def test_a_pipe_gets_replies_and_nothing_else(place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling, talk, replies = Sampling(temperature=0.8, seed=3), Conversation(system="Be brief."), []
    for number, text in enumerate(("The cat", "and\nthe dog", "/who?")):
        talk = talk.add("user", text)
        found = reply(load(place), talk, max_tokens=8, sampling=sampling, request=number)
        replies.append("".join(found))
        talk = talk.add("assistant", found.text)
    shown = piped(
        capsys, monkeypatch, place, "The cat\n\nand\\\nthe dog\n//who?", "--system", "Be brief.", "--temperature", "0.8"
    )
    assert shown.out == "".join(text + "\n" for text in replies)
    assert shown.err == ""


def test_json_is_an_object_a_reply(place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    found = objects(capsys, monkeypatch, place, "The cat\n/retry\nWho?\n")
    plain = piped(capsys, monkeypatch, place, "The cat\n/retry\nWho?\n").out
    assert [each.keys() for each in found] == [{"text", "token_ids", "num_left_out"}] * 3
    assert "".join(each["text"] + "\n" for each in found) == plain
    assert found[0]["text"] != found[1]["text"]
    decoded = [load(place).tokenizer.decode(each["token_ids"], skip_special=True) for each in found]
    assert decoded == [each["text"] for each in found]


def test_a_saved_conversation_goes_on_where_it_was(
    place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, cold = str(tmp_path / "talk.json"), ("--temperature", "0")
    lines = f"/system Be brief.\nThe cat\n/save {path}\nWho?\n"
    first, second = objects(capsys, monkeypatch, place, lines, *cold)
    saved = Conversation.load(path)
    expected = Conversation(system="Be brief.", model=place).add("user", "The cat").add("assistant", first["text"])
    assert saved == expected
    assert objects(capsys, monkeypatch, place, "Who?\n", "--load", path, *cold) == [second]
    assert objects(capsys, monkeypatch, place, f"/load {path}\nWho?\n", *cold) == [second]
    assert objects(capsys, monkeypatch, place, "Who?\n", "--load", path, "--system", "Be long.", *cold) != [second]


def test_what_commands_do(place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "one\ntwo\n/edit 1 uno\nthree\n/edit tres\n/history\n/undo\n/new\n/history\n"
        '/temperature 0.5\n/temperature\n/system Be long.\n/system ""\n/quit\nfour\n'
    )
    shown = piped(capsys, monkeypatch, place, lines, "--json", "--system", "Be brief.")
    texts = [json.loads(line)["text"] for line in shown.out.splitlines()]
    assert len(texts) == 5
    assert shown.err == (
        f"system: Be brief.\n1 user: uno\nassistant: {texts[2]}\n2 user: tres\nassistant: {texts[4]}\n"
        "Taken back: tres\nA new conversation. The system prompt stays.\nsystem: Be brief.\nNothing has been said yet.\n"
        "The temperature is 0.5.\nThe temperature is 0.5.\nThe system prompt: Be long.\nThere is no system prompt.\n"
    )


def test_help_names_every_command(place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    told = piped(capsys, monkeypatch, place, "/help\n").err
    assert all(re.search(rf"^/{name} ", told, re.MULTILINE) for name in COMMANDS)


def test_what_is_left_out_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from .small import saved

    place = str(saved(tmp_path / "small"))
    shown = piped(capsys, monkeypatch, place, "the cat and the dog\n" * 9, "--json")
    counts = [json.loads(line)["num_left_out"] for line in shown.out.splitlines()]
    assert counts[0] == 0 < counts[-1]
    assert counts == sorted(counts)
    assert "turn is left out" in shown.err
    assert f"The {counts[-1]} oldest turns are left out" in shown.err


MISTAKES = (
    ("/bogus\n", (), "There is no command '/bogus'"),
    ("/historie\n", (), "Did you mean 'history'?"),
    ("/undo\n", (), "Nothing has been said yet"),
    ("/retry\n", (), "Nothing has been said yet"),
    ("hi\n/edit 7 x\n", (), "numbers are 1 to 1"),
    ("/edit\n", (), "Nothing was said instead"),
    ("/save\n", (), "No file was named"),
    ("/load nowhere.json\n", (), "Could not read nowhere.json"),
    ("/temperature hot\n", (), "The temperature is 'hot'"),
    ("/temperature -1\n", (), "temperature is -1"),
    ("the cat " * 20_000 + "\n", (), "Shorten the message"),
    ("caf\udce9\n", (), "surrogate"),
    ("hi\n", ("--load", "nowhere.json"), "Could not read nowhere.json"),
    ("hi\n", ("--max-tokens", "0"), "max_tokens is 0"),
    ("hi\n", ("--top-k", "0"), "top_k is 0"),
)


@pytest.mark.parametrize(("lines", "words", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_a_mistake_in_a_pipe_is_one_message(
    lines: str, words: tuple[str, ...], message: str, place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = piped(capsys, monkeypatch, place, lines, *words, code=2).err
    assert told.startswith("cutaway chat: ")
    assert message in told
    assert told.count("\n") == 1


def test_a_model_that_holds_no_conversation_names_generate(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = sentencepiece()
    model = tiny.model(tiny.config(decoder=tiny.stack(), vocab_size=tokenizer.vocab_size))
    checkpoint.save(tmp_path / "m", model, tokenizer_files=tokenizer.save)
    told = piped(capsys, monkeypatch, str(tmp_path / "m"), "hi\n", code=2).err
    assert "has no chat template" in told
    assert "cutaway generate" in told


def test_the_model_left_out_is_the_bundled_one_with_a_template(
    place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    monkeypatch.setattr("cutaway.finding.bundled_models", lambda: {"talker": Path(place)})
    assert main(["chat", *WORDS]) == 2
    assert "No bundled model was trained on conversations" in capsys.readouterr().err
    template = Path(place) / "chat_template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    try:
        assert main(["chat", *WORDS]) == 0
    finally:
        template.unlink()


def test_a_person_stops_a_reply_and_goes_on(place: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    with Typist("chat", place, "--temperature", "0", "--max-tokens", "19000") as person:
        assert "reads 20,000 tokens at once" in person.until("you > ")
        person.line("The cat")
        person.until(r"talker > \x1b\[0m[^\x1b]*\w\w")
        person.type(CTRL_C)
        person.until("Stopped")
        person.until("you > ")
        person.line(f"/save {path}")
        person.until("2 messages")
        person.until("you > ")
        person.type("half a line")
        person.until("half a line")
        person.press(CTRL_C, "Ctrl-D or /quit leaves.*you > ")
        person.line("/retry")
        person.until("At temperature 0 a reply comes out the same.*talker > ")
        person.type(CTRL_C)
        person.until("Stopped.*you > ")
        person.type(CTRL_D)
        assert person.end()[1] == 0
    assert Conversation.load(path).messages[0].content == "The cat"
    assert Conversation.load(path).messages[1].content != ""


def test_lines_are_edited_continued_and_remembered(place: str) -> None:
    with Typist("chat", place, *WORDS) as person:
        person.until("you > ")
        person.line("The dog\x7f\x7f\x7fcat\\")  # three times backspace
        person.line("went up")
        person.until(r"8 tokens, .* tokens/s\. .* of the 20,000")
        person.until("you > ")
        person.type(UP + "!\r")
        person.until("8 tokens")
        person.until("you > ")
        person.line("/history")
        person.until(r"1 you > \S*The cat\r\nwent up\r\n.*2 you > \S*went up!.*\x1b\[1myou > ")
        person.line("/bogus")
        person.until("There is no command '/bogus'")
        person.until("you > ")
        person.line("/quit")
        assert person.end()[1] == 0


@pytest.mark.parametrize("is_plain", [False, True])
def test_colours_are_those_of_the_rest_or_none(is_plain: bool, place: str) -> None:
    with Typist("chat", place, *WORDS, **({"NO_COLOR": "1"} if is_plain else {})) as person:
        person.until("you > ")
        person.line("The cat")
        shown = person.until("8 tokens, .*you > ")
        person.type(CTRL_D)
        person.end()
    has_colour = re.search(r"\x1b\[[0-9;]*m", shown) is not None
    assert has_colour != is_plain


def test_a_terminal_is_given_nothing_that_it_would_obey() -> None:
    from rich.console import Console

    from cutaway.apps.chat.screen import Terminal
    from cutaway.tasks.conversation import Message

    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    Terminal(console, "m").past(Message("assistant", "a\x1b[2Jb\tc\nd"), None)
    assert isinstance(console.file, io.StringIO)
    assert "a\ufffd[2Jb" in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()
