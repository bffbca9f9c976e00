"""How a conversation is read and shown. In: lines that were typed or piped. Out: replies as they are written, and notes.

At a terminal the person's and the model's name begin a line, the model's in green, since its words are computed. Through a pipe,
standard output holds replies alone; whatever else is to be said goes to standard error, and the first mistake ends it.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol

from rich.console import Console
from rich.text import Text

from ...errors import CutawayError
from ...tasks.chat import Reply
from ...tasks.conversation import Message
from ...text.visible import printable
from ..cli.shared import print_json
from ..inspect.characters import COMPUTED, QUIET

YOU: Final = "you"
_GOES_ON: Final = "\\"  # at the end of a line: the message has another one


class Screen(Protocol):
    """What a conversation is held through."""

    def read(self) -> str | None:
        """The next message or command, its continued lines joined; None at the end."""

    def show(self, reply: Reply) -> None:
        """Run a reply to its end, or until the person stops it."""

    def interrupted(self) -> None:
        """Ctrl-C while something was done: of a person it stops that, and without one everything."""

    def past(self, message: Message, number: int | None) -> None:
        """A message of the history. number: of the person's messages."""

    def note(self, text: str) -> None:
        """Something that is neither a message nor a reply."""

    def aside(self, text: str) -> None:
        """A note that only a person wants."""

    def refuse(self, error: CutawayError) -> None:
        """What cannot be done, and why."""


class Terminal:
    """A person: prompts, colours, Ctrl-C stops what runs. name: of the model."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        has_editing = find_spec("readline") is not None
        if has_editing:
            import_module("readline")  # from now on `input` has editing and history
        self._prompt = self._in_style(f"{YOU} > ", "bold", has_editing)
        self._more = self._in_style(f"{' ' * len(YOU)} > ", QUIET, has_editing)

    def read(self) -> str | None:
        """See `Screen`. Ctrl-C throws away what was typed, Ctrl-D leaves."""
        self.console.print()
        try:
            return _joined(lambda is_first: _typed(self._prompt if is_first else self._more))
        except KeyboardInterrupt:
            self.console.print()
            self.note("Ctrl-D or /quit leaves.")
            return ""

    def show(self, reply: Reply) -> None:
        """See `Screen`. Ctrl-C stops the reply."""
        try:
            with _noticing() as is_stopped:
                self._label(self.name, f"bold {COMPUTED}")
                for text in reply:
                    self.console.print(Text(printable(text)), end="", soft_wrap=True)
                    if is_stopped():
                        raise KeyboardInterrupt
            self.console.print()
        except KeyboardInterrupt:
            self.interrupted()

    def interrupted(self) -> None:
        """See `Screen`."""
        self.console.print()
        self.note("Stopped.")

    def past(self, message: Message, number: int | None) -> None:
        """See `Screen`."""
        is_persons = message.role == "user"
        name = YOU if is_persons else self.name if message.role == "assistant" else message.role
        self._label(name if number is None else f"{number} {name}", "bold" if is_persons else f"bold {COMPUTED}")
        self.console.print(Text(printable(message.content)), soft_wrap=True)

    def note(self, text: str) -> None:
        """See `Screen`."""
        self.console.print(Text(text, QUIET), soft_wrap=True)

    def aside(self, text: str) -> None:
        """See `Screen`."""
        self.note(text)

    def refuse(self, error: CutawayError) -> None:
        """See `Screen`."""
        self.console.print(Text(printable(str(error))), soft_wrap=True)

    def _label(self, name: str, style: str) -> None:
        self.console.print(Text.assemble((f"{name} > ", style)), end="")

    def _in_style(self, text: str, style: str, has_editing: bool) -> str:
        """A prompt for `input`; line editing must be told which characters take no room."""
        with self.console.capture() as caught:
            self.console.print(Text(text, style), end="")
        return re.sub(r"(\x1b\[[0-9;]*m)", "\x01\\1\x02", caught.get()) if has_editing else caught.get()


@contextmanager
def _noticing() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was typed. The second one is raised at once, wherever the program is.

    An exception that is raised in the middle of a pass or of a print may end in a library that drops it, or that it leaves half
    done; one that waits for the next token is not lost, and leaves the session and the console whole.
    """
    was_typed: list[bool] = []

    def notice(*_: object) -> None:
        was_typed.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: bool(was_typed)
    finally:
        signal.signal(signal.SIGINT, before)


class Pipe:
    """No person: lines in, replies out."""

    def read(self) -> str | None:
        """See `Screen`."""
        return _joined(lambda _: sys.stdin.readline())

    def show(self, reply: Reply) -> None:
        """See `Screen`."""
        for text in reply:
            print(text, end="", flush=True)
        print(flush=True)

    def interrupted(self) -> None:
        """See `Screen`."""
        raise KeyboardInterrupt

    def past(self, message: Message, number: int | None) -> None:
        """See `Screen`."""
        self.note(f"{'' if number is None else f'{number} '}{message.role}: {message.content}")

    def note(self, text: str) -> None:
        """See `Screen`."""
        print(text, file=sys.stderr)

    def aside(self, text: str) -> None:
        """See `Screen`."""

    def refuse(self, error: CutawayError) -> None:
        """See `Screen`."""
        raise error


class JsonLines(Pipe):
    """A program: one object a reply."""

    def show(self, reply: Reply) -> None:
        """See `Screen`."""
        for _ in reply:
            pass
        print_json({"text": reply.text, "token_ids": reply.token_ids, "num_left_out": reply.num_left_out})
        sys.stdout.flush()


def _typed(prompt: str) -> str:
    try:
        return input(prompt) + "\n"
    except EOFError:
        print()
        return ""


def _joined(read: Callable[[bool], str]) -> str | None:
    r"""Lines up to the first that does not end with a \, joined. read: the next one, "" at the end; told if it is the first."""
    lines: list[str] = []
    try:
        while line := read(not lines):
            line = line.removesuffix("\n")
            lines.append(line.removesuffix(_GOES_ON))
            if not line.endswith(_GOES_ON):
                break
    except UnicodeDecodeError:
        raise CutawayError(
            "The message is not valid UTF-8. Check the encoding of the terminal or of the pipe."
        ) from None
    return "\n".join(lines) if lines else None
