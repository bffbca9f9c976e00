"""An ask and its answer. In: a desk, the method and path of a request, its query and body. Out: an `Answer`.

Each line of the tables is one line of docs/reference/microscope.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...lessons import entries, entry, read, refusal
from .asks import (
    AskEmbedding,
    AskGenerate,
    AskHead,
    AskLesson,
    AskMemory,
    AskModel,
    AskNothing,
    AskPosition,
    AskRollout,
    AskRun,
    AskSave,
    AskSays,
    AskSpeed,
    AskTensor,
    AskToken,
    AskUnit,
    AskWhy,
    of_json,
    of_query,
)
from .causes import rollout_of, why_of
from .described import answer_of
from .desk import Desk
from .generating import events_of
from .insides import embedding_of, head_answer, heads_answer, position_of, says_of
from .matrices import matrix_of
from .memory import arithmetic_of, memory_of
from .saving import saved_page
from .speed import speed_of
from .units import unit_of
from .wire import Answer, Body, Lines, NotHereError, json_body, matrix_body
from .words import texts_of

Route = tuple[type[Any], Callable[[Desk, Any], Answer]]


class NoSuchPathError(NotHereError):
    """An address that nothing stands at."""


def answer(desk: Desk, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
    """The answer. Raises CutawayError for what cannot be answered, UnknownRunError for a run that is not kept."""
    routes = GETS if method == "GET" else POSTS
    if path not in routes:
        raise NoSuchPathError(f"There is nothing at {method} {path:.80}.")
    kind, function = routes[path]
    return function(desk, of_query(kind, query) if method == "GET" else of_json(kind, body))


def models(desk: Desk, ask: object) -> Body:  # noqa: ARG001 (as all routes)
    """The models that can be opened."""
    return json_body({"models": desk.shelf.listing(), "current": desk.shelf.current, "text": desk.text})


def run(desk: Desk, ask: AskRun) -> Body:
    """A run."""
    return json_body(answer_of(desk.run(ask)))


def tensor(desk: Desk, ask: AskTensor) -> Body:
    """One matrix of a site."""
    return matrix_of(desk.find(ask.run), ask)


def logits(desk: Desk, ask: AskToken) -> Body:
    """The row of logits of one token."""
    found = desk.find(ask.run)
    token = found.main.check(ask.token)
    return matrix_body(found.logits(token, token + 1), None)


def generate(desk: Desk, ask: AskGenerate) -> Lines:
    """A generation, event by event."""
    return Lines(lines=events_of(desk.find(ask.run), ask, desk.shelf))


def memory(desk: Desk, ask: AskMemory) -> Body:
    """Bytes moved for each token."""
    config = desk.shelf.config(ask.model)
    return json_body(memory_of(config, ask, desk.bandwidth, desk.cache) | arithmetic_of(config, ask, desk.peak))


def speed(desk: Desk, ask: AskSpeed) -> Body:
    """How fast a model writes, measured now."""
    with desk.measuring:  # one at a time, or they would measure each other
        return json_body(speed_of(desk.shelf.open(ask.model), ask, desk.machine))


def save(desk: Desk, ask: AskSave) -> Body:
    """The page as one file."""
    page, name = saved_page(desk, ask, partial(answer, desk)), desk.find(ask.run).opened.file_name
    headers = {"Content-Disposition": f'attachment; filename="{name}.html"'}
    return Body(data=page, kind="text/html; charset=utf-8", headers=headers)


def vocabulary(desk: Desk, ask: AskModel) -> Body:
    """The text of every id."""
    return json_body({"texts": texts_of(desk.shelf.open(ask.model).words)})


def lessons(desk: Desk, ask: AskModel) -> Body:
    """All lessons, and of each why a model does not suit it; null where it does. model: None for the one that was opened."""
    lm = desk.shelf.open(ask.model).lm
    found = [
        {
            "name": each.name,
            "title": each.title,
            "line": each.line,
            "model": each.model,
            "refusal": refusal(each.name, lm),
        }
        for each in entries()
    ]
    return json_body({"lessons": found})


def lesson(desk: Desk, ask: AskLesson) -> Body:
    """One lesson, its experiment run now."""
    opened = desk.shelf.open(ask.model or entry(ask.name).model)
    with opened.lock:
        return json_body(read(ask.name, opened.lm, ask.settings).as_dict())


def _of_run(function: Callable[[Any, Any], Any]) -> Callable[[Desk, Any], Body]:
    """A route whose answer is a function of the run and the ask."""
    return lambda desk, ask: json_body(function(desk.find(ask.run), ask))


GETS: Mapping[str, Route] = {
    "/api/models": (AskNothing, models),
    "/api/tensor": (AskTensor, tensor),
    "/api/lessons": (AskModel, lessons),
    "/api/logits": (AskToken, logits),
    "/api/memory": (AskMemory, memory),
    "/api/vocabulary": (AskModel, vocabulary),
}
POSTS: Mapping[str, Route] = {
    "/api/run": (AskRun, run),
    "/api/save": (AskSave, save),
    "/api/lesson": (AskLesson, lesson),
    "/api/speed": (AskSpeed, speed),
    "/api/generate": (AskGenerate, generate),
    "/api/rollout": (AskRollout, _of_run(rollout_of)),
    "/api/why": (AskWhy, _of_run(why_of)),
    "/api/says": (AskSays, _of_run(says_of)),
    "/api/embedding": (AskEmbedding, _of_run(embedding_of)),
    "/api/position": (AskPosition, _of_run(position_of)),
    "/api/heads": (AskToken, _of_run(heads_answer)),
    "/api/head": (AskHead, _of_run(head_answer)),
    "/api/unit": (AskUnit, _of_run(unit_of)),
}
