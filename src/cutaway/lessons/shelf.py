"""All lessons in their order. In: a name, a model and settings. Out: the lesson, read now."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..errors import CutawayError, near
from ..lm import LM, load
from . import (
    attention,
    bandwidth,
    choosing,
    diffusion,
    embedding,
    encoding,
    layers,
    meaning,
    order,
    recurrence,
    stacks,
    token,
    vector,
)
from .lesson import Entry, Lesson, Next
from .settings import settle

MODULES = (
    token, vector, embedding, meaning, encoding, order, recurrence, attention, layers, choosing, stacks, bandwidth, diffusion,
)  # fmt: skip
SHELF: tuple[Entry, ...] = tuple(module.ENTRY for module in MODULES)


def entries() -> tuple[Entry, ...]:
    """Every lesson before it is read, in order."""
    return SHELF


def names() -> list[str]:
    """The names of the lessons, in order."""
    return [entry.name for entry in SHELF]


def entry(name: str) -> Entry:
    """A lesson by name. Raises CutawayError, with the near names, for one that there is not."""
    found = {entry.name: entry for entry in SHELF}
    if name not in found:
        raise CutawayError(f"There is no lesson '{name}'.{near(name, found)} `cutaway lessons` lists them.")
    return found[name]


def refusal(name: str, lm: LM) -> str | None:
    """Why a lesson cannot be read on a model, as a sentence that says which model can; None where it can."""
    try:
        entry(name).check(lm)
    except CutawayError as error:
        return str(error)
    return None


@torch.inference_mode()
def read(name: str, lm: LM | None = None, settings: Mapping[str, object] | None = None) -> Lesson:
    """Run the experiment of a lesson.

    lm: the model; None: the bundled one that the lesson is written for. settings: name -> value, as texts or numbers; what is
    left out keeps its default. Raises CutawayError for a name that there is not, a model that lacks what the lesson needs, and
    a setting that is not allowed.
    """
    found = entry(name)
    lm = load(found.model) if lm is None else lm
    found.check(lm)
    settled = settle(found.settings(lm), settings or {})
    shown = found.show(lm, settled)
    index = SHELF.index(found) + 1
    follows = Next(name=SHELF[index].name, title=SHELF[index].title) if index < len(SHELF) else None
    return Lesson(name=name, title=found.title, model=lm.name, settings=settled.all, next=follows, **vars(shown))
