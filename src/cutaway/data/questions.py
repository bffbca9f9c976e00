"""Files -> questions on contexts. In: JSON in SQuAD's form (Rajpurkar et al. 2016, 2018), or bAbI. Out: `Question`s.

    {"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": [{"text": …, "answer_start": …}]}]}]}]}

A question that its context does not answer has "is_impossible": true and no answers. Every answer must stand in its context at
its offset, counted in characters. Other keys are passed over. A .txt file is one of bAbI (`babi`), whose answers have no place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..errors import CutawayError, near
from ..text.refusals import check_text
from .babi import read_babi
from .sources import Source, open_text

Kind = TypeVar("Kind", str, int, list[Any], bool)
KINDS = {str: "a text", int: "a whole number", list: "a list", bool: "true or false"}


class Marked(NamedTuple):
    """An answer: its text, and where a person marked its begin in the context, in characters; None: it has no place there."""

    text: str
    begin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. answers: all that count as right; none: the context does not answer it. place: where it stands."""

    text: str
    context: str
    answers: tuple[Marked, ...] = ()
    id: str = ""
    place: str = "the question"


@dataclass(frozen=True, kw_only=True)
class QuestionSource:
    """Where questions come from. files: a path or glob of files, or several: .json in SQuAD's form, .txt in bAbI's; .xz, .gz and
    .bz2 are read too.

    folder: what relative paths are relative to. Raises `CutawayError`.
    """

    files: str | tuple[str, ...]
    folder: Path = Path()

    def __post_init__(self) -> None:
        _ = self._files  # which refuses no name at all

    @property
    def name(self) -> str:
        """What messages call this source."""
        return self._files.name

    def paths(self) -> list[Path]:
        """Every file, in the order in which it is read. Raises `CutawayError` for a missing one."""
        return self._files.paths()

    @property
    def _files(self) -> Source:
        return Source(files=self.files, folder=self.folder)


def read_questions(source: QuestionSource) -> Iterator[Question]:
    """The questions of a source, in order; those of one context follow one another.

    Raises `CutawayError`, with file and place: what is no JSON, a missing or wrong field, an empty context, question or answer,
    an answer that is not in its context at its offset, a question without answers that is not called impossible or the other
    way round, two questions of one id, or no question at all.
    """
    seen: dict[str, str] = {}
    for path in source.paths():
        for question in _of_babi(path) if _is_text(path) else _of_file(path):
            if question.id in seen:
                raise CutawayError(
                    f"{question.place} has the id '{question.id:.60}', which {seen[question.id]} has too. Ids are unique: "
                    "change one, or take it out."
                )
            seen[question.id] = question.place
            yield question
    if not seen:
        raise CutawayError(f"There is no question in {source.name}: nothing to learn from, and nothing to measure.")


def _is_text(path: Path) -> bool:
    return ".txt" in path.suffixes[-2:]


def _of_babi(path: Path) -> Iterator[Question]:
    for text, context, answer, place in read_babi(path):
        yield Question(text=text, context=context, answers=(Marked(answer, None),), id=place, place=place)


def _of_file(path: Path) -> Iterator[Question]:
    for article, place in _items(_parsed(path), "data", f"{path}, "):
        for paragraph, inner in _items(article, "paragraphs", f"{place}."):
            context = _text(paragraph, "context", inner)
            for asked, innermost in _items(paragraph, "qas", f"{inner}."):
                yield _question(asked, context, innermost)


def _question(asked: dict[str, Any], context: str, place: str) -> Question:
    text, number = _text(asked, "question", place).strip(), _text(asked, "id", place)
    answers = tuple(_answer(found, context, where) for found, where in _items(asked, "answers", f"{place}."))
    is_impossible = _field(asked, "is_impossible", bool, place) if "is_impossible" in asked else False
    if is_impossible == bool(answers):
        what = "is called impossible and has answers" if answers else "has no answer and is not called impossible"
        raise CutawayError(
            f'{place} {what}. A question that its context does not answer has "is_impossible": true and "answers": [].'
        )
    return Question(text=text, context=context, answers=answers, id=number, place=place)


def _answer(found: dict[str, Any], context: str, place: str) -> Marked:
    text, begin = _text(found, "text", place), _field(found, "answer_start", int, place)
    there = context[max(begin, 0) : max(begin + len(text), 0)]
    if begin < 0 or there != text:
        elsewhere = context.find(text)
        hint = f"It stands at {elsewhere}." if elsewhere >= 0 else "The context does not hold it anywhere."
        raise CutawayError(
            f"{place}: the answer '{text:.60}' is not in its context at answer_start {begin}, where "
            f"'{there:.60}' stands. {hint} Offsets count characters, not bytes."
        )
    return Marked(text, begin)


def _items(record: dict[str, Any], field: str, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a list, each with its place: "dev.json, data[0].paragraphs[3]"."""
    for index, item in enumerate(_field(record, field, list, place.rstrip(", ."))):
        where = f"{place}{field}[{index}]"
        if not isinstance(item, dict):
            raise CutawayError(
                f"{where} is {item!r:.40}. It must be an object with fields: is the file in SQuAD's form?"
            )
        yield item, where


def _text(record: dict[str, Any], field: str, place: str) -> str:
    """A text that says something."""
    text = _field(record, field, str, place)
    try:
        check_text(text)
    except CutawayError as error:
        raise CutawayError(f"{place}: '{field}' cannot be read. {error}") from error
    if not text.strip():
        raise CutawayError(f"{place}: '{field}' is empty. Fill it, or take it out.")
    return text


def _field(record: dict[str, Any], field: str, kind: type[Kind], place: str) -> Kind:
    if field not in record:
        raise CutawayError(f"{place} has no field '{field}'.{near(field, record)} Is the file in SQuAD's form?")
    value = record[field]
    if type(value) is not kind:
        raise CutawayError(f"{place}: '{field}' is {value!r:.40}. It must be {KINDS[kind]}.")
    return value


def _parsed(path: Path) -> dict[str, Any]:
    with open_text(path) as file:
        content = file.read()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{path} is not JSON ({str(error)[:80]}). Copy it again from where it came.") from error
    if not isinstance(found, dict):
        raise CutawayError(f"{path} holds a JSON {type(found).__name__}, not an object with the field 'data'.")
    return found
