"""A conversation, and the file that it is kept in. In: what was said. Out: another conversation, or JSON.

    {"version": 1, "model": "stories", "messages": [{"role": "user", "content": "…"}, …]}

Nothing that was said changes: every verb gives a new conversation. A file is one line, so that files one after another are data
to train on (`data.dialogues`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from ..errors import CutawayError
from ..strict import build
from ..weights.atomic import write_file
from ..weights.files import read_json

VERSION: Final = 1

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """What one said."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """system: what the model is told before all else, None for nothing. messages: what was said since, the oldest first.

    model: the name of the model with which it was held, kept in its file.
    """

    system: str | None = None
    messages: tuple[Message, ...] = ()
    model: str | None = None

    @property
    def turns(self) -> tuple[tuple[Message, ...], ...]:
        """The messages, cut before every one of the user."""
        starts = [index for index, message in enumerate(self.messages) if message.role == "user"]
        borders = [0, *(start for start in starts if start > 0), len(self.messages)]
        return tuple(self.messages[start:end] for start, end in pairwise(borders) if start < end)

    @property
    def is_answered(self) -> bool:
        """Whether nothing waits for a reply."""
        return not self.messages or self.messages[-1].role != "user"

    def add(self, role: Role, content: str) -> Conversation:
        """With one more message. Raises CutawayError for a role that is not user or assistant."""
        return self._with([*self.messages, _checked(Message(role, content))])

    def edit(self, content: str, number: int | None = None) -> Conversation:
        """Up to the user's message of this number, which now says `content`. number: from 1; None: the last one.

        Raises CutawayError for a number that no message has.
        """
        starts = self._starts()
        number = len(starts) if number is None else number
        if not 1 <= number <= len(starts):
            raise CutawayError(f"There is no message {number} of yours. Their numbers are 1 to {len(starts)}.")
        return self._with([*self.messages[: starts[number - 1]], Message("user", content)])

    def retry(self) -> Conversation:
        """Up to the user's last message: what was said to it is taken back. Raises CutawayError where there is none."""
        return self._with(self.messages[: self._starts()[-1] + 1])

    def undo(self) -> Conversation:
        """Without the user's last message and what was said to it. Raises CutawayError where there is none."""
        return self._with(self.messages[: self._starts()[-1]])

    def without_oldest(self, num_turns: int) -> Conversation:
        """Without the first turns; the system prompt stays."""
        return self._with([message for turn in self.turns[num_turns:] for message in turn])

    def as_messages(self) -> list[dict[str, str]]:
        """As templates take it: role and content, the system prompt first."""
        first = [] if self.system is None else [Message("system", self.system)]
        return [{"role": message.role, "content": message.content} for message in (*first, *self.messages)]

    def save(self, path: str | Path) -> None:
        """Write or replace a file. Raises CutawayError if the system refuses, or something else stands there."""
        path = Path(path).expanduser()
        if path.exists():
            _require_conversation(path)
        content = {"version": VERSION, "model": self.model, "messages": self.as_messages()}
        write_file(path, (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> Conversation:
        """Read what `save` wrote. Raises CutawayError, naming the file, for one that is missing, broken or something else."""
        path = Path(path).expanduser()
        data = read_json(path)
        version = data.get("version", VERSION)
        if type(version) is int and version > VERSION:
            raise CutawayError(
                f"{path} is a conversation of version {version}; this Cutaway reads up to {VERSION}. Get a newer one."
            )
        try:
            saved = build(_Saved, data)
            return cls._from(saved)
        except CutawayError as error:
            raise CutawayError(f"{path} is no conversation that was saved: {error}") from error

    @classmethod
    def _from(cls, saved: _Saved) -> Conversation:
        has_system = bool(saved.messages) and saved.messages[0].role == "system"
        system, rest = (saved.messages[0].content, saved.messages[1:]) if has_system else (None, saved.messages)
        return cls(system=system, messages=tuple(map(_checked, rest)), model=saved.model)

    def _starts(self) -> list[int]:
        """Where the user's messages stand."""
        found = [index for index, message in enumerate(self.messages) if message.role == "user"]
        if not found:
            raise CutawayError("Nothing has been said yet. Write a message first.")
        return found

    def _with(self, messages: Iterable[Message]) -> Conversation:
        return replace(self, messages=tuple(messages))


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """What a file holds."""

    version: int
    model: str | None
    messages: tuple[Message, ...]


def _checked(message: Message) -> Message:
    if message.role not in ("user", "assistant"):
        raise CutawayError(
            f"A message has the role '{message.role}'. Allowed: user, assistant; a system prompt comes first and only once."
        )
    return message


def _require_conversation(path: Path) -> None:
    try:
        Conversation.load(path)
    except CutawayError as error:
        raise CutawayError(
            f"{path} is there already and is no saved conversation, so it was not replaced. Choose another name."
        ) from error
