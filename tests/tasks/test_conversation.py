"""Conversations: every verb gives a new one, a file gives the same one back, and what is no such file is one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.tasks.conversation import Conversation, Message

TALK = (
    Conversation(system="Be brief.")
    .add("user", "one")
    .add("assistant", "first")
    .add("user", "two")
    .add("assistant", "second")
)


def texts(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def test_no_verb_changes_what_was_said() -> None:
    before = TALK.as_messages()
    for changed in (TALK.add("user", "x"), TALK.edit("x"), TALK.retry(), TALK.undo(), TALK.without_oldest(1)):
        assert changed != TALK
        assert changed.system == "Be brief."
    assert TALK.as_messages() == before


def test_verbs() -> None:
    assert texts(TALK.retry()) == ["one", "first", "two"]
    assert texts(TALK.undo()) == ["one", "first"]
    assert texts(TALK.edit("deux")) == ["one", "first", "deux"]
    assert texts(TALK.edit("un", 1)) == ["un"]
    assert texts(TALK.without_oldest(1)) == ["two", "second"]
    assert texts(TALK.undo().undo()) == []
    assert [TALK.is_answered, TALK.retry().is_answered, Conversation().is_answered] == [True, False, True]


def test_a_greeting_belongs_to_the_first_turn() -> None:
    greeted = Conversation().add("assistant", "Hello.").add("user", "one").add("user", "more").add("assistant", "first")
    assert [[message.content for message in turn] for turn in greeted.turns] == [["Hello."], ["one"], ["more", "first"]]


@pytest.mark.parametrize("verb", [Conversation.retry, Conversation.undo, lambda empty: empty.edit("x")])
def test_an_empty_conversation_has_nothing_to_take_back(verb: object) -> None:
    with pytest.raises(CutawayError, match="Nothing has been said yet"):
        verb(Conversation())  # type: ignore[operator]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_message_that_is_not_there_is_told_the_numbers(number: int) -> None:
    with pytest.raises(CutawayError, match="numbers are 1 to 2"):
        TALK.edit("x", number)


def test_other_roles_are_refused() -> None:
    with pytest.raises(CutawayError, match=r"role 'system'\. Allowed: user, assistant"):
        TALK.add("system", "x")


SAID = st.builds(Message, st.sampled_from(["user", "assistant"]), st.text())


@given(st.none() | st.text(), st.lists(SAID).map(tuple), st.none() | st.text())
def test_a_file_gives_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, system: str | None, messages: tuple[Message, ...], model: str | None
) -> None:
    path = tmp_path_factory.mktemp("talk") / "talk.json"
    talk = Conversation(system=system, messages=messages, model=model)
    talk.save(path)
    assert Conversation.load(path) == talk
    assert path.read_bytes().count(b"\n") == 1
    assert json.loads(path.read_text("utf-8")).keys() == {"version", "model", "messages"}


def test_what_is_no_conversation_is_not_replaced(tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("years of work")
    with pytest.raises(CutawayError, match=r"thesis\.txt is there already and is no saved conversation"):
        TALK.save(other)
    assert other.read_text() == "years of work"
    TALK.save(tmp_path / "talk.json")
    TALK.undo().save(tmp_path / "talk.json")
    assert Conversation.load(tmp_path / "talk.json") == TALK.undo()


BROKEN = {
    "missing": (None, r"Could not read .*talk\.json"),
    "cut": ('{"version": 1, "mess', r"talk\.json is not JSON"),
    "list": ("[]", "holds list"),
    "newer": ('{"version": 2, "model": null, "threads": []}', "version 2; this Cutaway reads up to 1"),
    "no version": ('{"model": null, "messages": []}', "'version' is missing"),
    "no messages": ('{"version": 1, "model": null}', "'messages' is missing"),
    "unknown": ('{"version": 1, "model": null, "mesages": []}', "Did you mean 'messages'"),
    "role": ('{"version": 1, "model": null, "messages": [{"role": "tool", "content": "x"}]}', r"messages\[0\]\.role"),
    "content": (
        '{"version": 1, "model": null, "messages": [{"role": "user", "content": 5}]}',
        r"messages\[0\]\.content",
    ),
    "late system": (
        '{"version": 1, "model": null, "messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}',
        "a system prompt comes first",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_message(name: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "talk.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CutawayError, match=message) as caught:
        Conversation.load(path)
    assert "talk.json" in str(caught.value)
