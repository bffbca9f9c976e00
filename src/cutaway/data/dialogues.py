"""Conversations to learn from. In: JSON-lines of dialogues, a chat template. Out: token ids, and which of them are scored.

A line is an object in one of three forms; what else it holds is not looked at:

    {"messages": [{"role": "system", "content": "…"}, {"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}
    {"turns": [["user", "…"], ["assistant", "…"]]}

Only what the assistant says is learned, with the token that ends its turn (Ouyang et al. 2022 §3.4); what the template writes to
have it speak is not. In `turns`, where task dialogues are kept, the speaker "system" is the assistant, in capitals or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError, near
from ..text import ChatTemplate, Tokenizer
from ..text.turns import replies
from .packing import Ids
from .sources import Source, read_objects, read_records

Weights = NDArray[np.float32]

_EXAMPLE: Final = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
_WRITERS: Final = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_SPEAKERS: Final = {"user": "user", "assistant": "assistant", "system": "assistant"}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """messages: each with role and content. place: where it stands, "chats.jsonl:17"."""

    messages: tuple[Mapping[str, str], ...]
    place: str


def read_dialogues(source: Source) -> Iterator[Dialogue]:
    """The dialogues of JSON-lines files, in order; the files' names and packing are as for any source.

    Raises `CutawayError`, with file and line: a missing or broken file, a line in none of the forms, a field that is missing
    or no text, an unknown writer or speaker.
    """
    for record, place in read_objects(source, _EXAMPLE):
        field = next((name for name in _FORMS if name in record), None)
        if field is None:
            raise CutawayError(
                f"{place} has none of the fields {', '.join(_FORMS)}.{near('messages', record)} A line looks like {_EXAMPLE}."
            )
        parts = record[field]
        if not isinstance(parts, list) or not parts:
            raise CutawayError(f"{place}: '{field}' is {parts!r:.40}. It takes a list of what was said, at least one.")
        numbered = enumerate(parts, start=1)
        messages = tuple(_FORMS[field](part, f"{place}: {field}, number {number}") for number, part in numbered)
        yield Dialogue(messages, place)


def holds_dialogues(path: Path) -> bool:
    """Whether a file is JSON-lines whose first object is a dialogue. A file that cannot be read holds none."""
    if ".jsonl" not in path.suffixes:
        return False
    with suppress(CutawayError):
        for record, _ in read_records(path, (), _EXAMPLE):
            return any(name in record for name in _FORMS)
    return False


def encode_dialogue(dialogue: Dialogue, tokenizer: Tokenizer, template: ChatTemplate) -> tuple[Ids, Weights]:
    """(token ids [position], weights [position]): 1 for the tokens that the assistant is to say, and 0 for all others.

    A weight is that of its own token, as a target. Raises `CutawayError`, with file and line: a dialogue that the template
    refuses, one without a reply.
    """
    try:
        ids, spans = replies(template, tokenizer, dialogue.messages)
    except CutawayError as error:
        raise CutawayError(f"{dialogue.place}: {error}") from error
    weights = np.zeros(len(ids), dtype=np.float32)
    for span in spans:
        weights[span.start : span.stop] = 1
    if not weights.any():
        raise CutawayError(f"{dialogue.place} has no reply of the assistant: there is nothing to learn. Leave it out.")
    return np.array(ids, dtype=np.int64), weights


def encode_dialogues(source: Source, tokenizer: Tokenizer, template: ChatTemplate) -> Iterator[tuple[Ids, Weights]]:
    """Every dialogue of a source, in order: see `encode_dialogue`."""
    for dialogue in read_dialogues(source):
        yield encode_dialogue(dialogue, tokenizer, template)


def _message(part: Any, place: str) -> Mapping[str, str]:
    return {"role": _text(part, "role", place), "content": _text(part, "content", place)}


def _written(part: Any, place: str) -> Mapping[str, str]:
    return {"role": _role(_text(part, "from", place), _WRITERS, place), "content": _text(part, "value", place)}


def _spoken(part: Any, place: str) -> Mapping[str, str]:
    if not isinstance(part, list) or len(part) != 2 or not all(isinstance(each, str) for each in part):
        raise CutawayError(f'{place} is {part!r:.60}. It takes the speaker and the text: ["user", "..."].')
    return {"role": _role(part[0].lower(), _SPEAKERS, place), "content": part[1]}


def _role(name: str, roles: Mapping[str, str], place: str) -> str:
    if name not in roles:
        raise CutawayError(f"{place} is said by '{name}', of whom nothing is known.{near(name, roles)}")
    return roles[name]


def _text(part: Any, field: str, place: str) -> str:
    if not isinstance(part, dict):
        raise CutawayError(f"{place} is {part!r:.60}. It takes an object with the field '{field}'.")
    if field not in part:
        raise CutawayError(f"{place} has no field '{field}'.{near(field, part)}")
    if not isinstance(part[field], str):
        raise CutawayError(f"{place}: '{field}' is {part[field]!r:.40}. It takes a text.")
    return part[field]


_FORMS: Final[Mapping[str, Callable[[Any, str], Mapping[str, str]]]] = {
    "messages": _message,
    "conversations": _written,
    "turns": _spoken,
}
