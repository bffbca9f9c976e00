"""What is typed. In: a line. Out: a message said, or a command done: /help, /retry …

What begins with / is a command; a message that begins with one is typed with two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ...errors import CutawayError, near
from ...tasks.conversation import Conversation, Message
from .talk import Talk, told

_MARK: Final = "/"
_NOTHING: Final = '""'


@dataclass(frozen=True, slots=True)
class Command:
    """wants: what is typed behind its name. does: in words. run: given the talk and what was typed behind the name."""

    wants: str
    does: str
    run: Callable[[Talk, str], None]


def hold(talk: Talk) -> None:
    """Read and answer until somebody leaves or the input ends."""
    while not talk.is_over:
        try:
            line = talk.screen.read()
            if line is None:
                return
            obey(talk, line)
        except CutawayError as error:
            talk.screen.refuse(error)
        except KeyboardInterrupt:
            talk.screen.interrupted()


def obey(talk: Talk, line: str) -> None:
    """Do what one line says. Raises CutawayError for what cannot be done."""
    if line.startswith(_MARK) and not line.startswith(2 * _MARK):
        name, _, rest = line.removeprefix(_MARK).partition(" ")
        if name not in COMMANDS:
            raise CutawayError(
                f"There is no command '/{name}'.{near(name, COMMANDS)} A message that begins with / is typed with two: //"
            )
        COMMANDS[name].run(talk, rest.strip())
    elif line.strip():
        talk.say(line.removeprefix(_MARK) if line.startswith(_MARK) else line)


def _help(talk: Talk, _: str) -> None:
    usages = {name: f"{_MARK}{name} {command.wants}".rstrip() for name, command in COMMANDS.items()}
    width = max(map(len, usages.values()))
    for name, command in COMMANDS.items():
        talk.screen.note(f"{usages[name]:<{width}}  {command.does}")
    talk.screen.note(r"A line that ends with \ goes on in the next one. Ctrl-C stops a reply, Ctrl-D leaves.")


def _system(talk: Talk, text: str) -> None:
    if text:
        talk.conversation = replace(talk.conversation, system=None if text == _NOTHING else text)
    system = talk.conversation.system
    talk.screen.note("There is no system prompt." if system is None else f"The system prompt: {system}")


def _retry(talk: Talk, _: str) -> None:
    talk.retry()


def _edit(talk: Talk, words: str) -> None:
    first, _, rest = words.partition(" ")
    number, text = (int(first), rest.strip()) if first.isdecimal() and rest.strip() else (None, words)
    if not text:
        raise CutawayError("Nothing was said instead. Type /edit TEXT, or /edit N TEXT for message N of yours.")
    talk.edit(text, number)


def _undo(talk: Talk, _: str) -> None:
    taken = talk.conversation.turns[-1:]
    talk.conversation = talk.conversation.undo()
    talk.screen.note(f"Taken back: {taken[0][0].content}")


def _save(talk: Talk, path: str) -> None:
    _require_file(path, "save")
    talk.conversation.save(path)
    talk.screen.note(f"Wrote {path}: {told(talk.conversation)}")


def _load(talk: Talk, path: str) -> None:
    _require_file(path, "load")
    talk.conversation = Conversation.load(path)
    talk.screen.note(f"Read {path}: {told(talk.conversation)}")


def _history(talk: Talk, _: str) -> None:
    conversation = talk.conversation
    if conversation.system is not None:
        talk.screen.past(Message("system", conversation.system), None)
    number = 0
    for message in conversation.messages:
        number += message.role == "user"
        talk.screen.past(message, number if message.role == "user" else None)
    if not conversation.messages:
        talk.screen.note("Nothing has been said yet.")


def _temperature(talk: Talk, word: str) -> None:
    if word:
        talk.sampling = replace(talk.sampling, temperature=_number(word))
    talk.screen.note(f"The temperature is {talk.sampling.temperature:g}.")


def _new(talk: Talk, _: str) -> None:
    talk.conversation = Conversation(system=talk.conversation.system)
    kept = "" if talk.conversation.system is None else " The system prompt stays."
    talk.screen.note(f"A new conversation.{kept}")


def _quit(talk: Talk, _: str) -> None:
    talk.is_over = True


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise CutawayError(f"The temperature is '{word}'. Give a number, for example 0.8.") from None


def _require_file(path: str, name: str) -> None:
    if not path:
        raise CutawayError(f"No file was named. Type /{name} FILE, for example /{name} talk.json.")


COMMANDS: Final[Mapping[str, Command]] = {
    "help": Command("", "what can be typed", _help),
    "system": Command(
        "TEXT", f"what the model is told before all else; {_NOTHING} takes it away, no TEXT shows it", _system
    ),
    "retry": Command("", "another reply to the last message", _retry),
    "edit": Command("[N] TEXT", "say the last message otherwise, or message N; what followed is taken back", _edit),
    "undo": Command("", "take back the last message and its reply", _undo),
    "save": Command("FILE", "keep the conversation", _save),
    "load": Command("FILE", "go on with one that was kept", _load),
    "history": Command("", "all that was said, your messages with their numbers", _history),
    "temperature": Command("T", "0 takes the likeliest word; no T shows it", _temperature),
    "new": Command("", "forget what was said; the system prompt stays", _new),
    "quit": Command("", "leave", _quit),
}
