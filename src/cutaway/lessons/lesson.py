"""A lesson: one question of a newcomer, answered by an experiment on a live model. In: what was measured. Out: a frozen `Lesson`.

`as_dict` gives the same as nested mappings and lists for JSON: what `cutaway lessons NAME --json` prints and a page receives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..lm import LM
from .figures import Figure
from .settings import Setting, Settings


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure that was measured, as a label and the value as text."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """What would show the lesson wrong, looked for just now.

    claim: the observation that would refute it. threshold: the number that decides. found: what this model gave. holds: whether
    the lesson survives.
    """

    claim: str
    threshold: str
    found: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Next:
    """The lesson that follows."""

    name: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What an experiment gives: the parts of a lesson that are computed."""

    text: tuple[str, ...]
    figures: tuple[Figure, ...]
    findings: tuple[Finding, ...]
    wrong: Check
    fair: str


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """name, title: which. model: what it ran on. text: paragraphs. figures: see `figures`. wrong: see `Check`.

    settings: what can be changed, each with the value that holds and what is allowed. fair: why the comparison is one. next: None
    after the last.
    """

    name: str
    title: str
    model: str
    text: tuple[str, ...]
    settings: tuple[Setting, ...]
    figures: tuple[Figure, ...]
    findings: tuple[Finding, ...]
    wrong: Check
    fair: str
    next: Next | None

    def as_dict(self) -> dict[str, Any]:
        """Mappings, lists, texts and numbers; a figure says its `kind`; what is no number is null."""
        found = plain(self)
        assert isinstance(found, dict), "a lesson has fields"
        return found


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A lesson before it is read.

    line: what it shows, in a few words. model: the bundled one that it runs on if none is given. check: raises CutawayError for
    a model that lacks what it needs. settings: what can be changed on this model. show: the experiment.
    """

    name: str
    title: str
    line: str
    model: str = "stories"
    check: Callable[[LM], None]
    settings: Callable[[LM], tuple[Setting, ...]]
    show: Callable[[LM, Settings], Shown]


def plain(value: Any) -> Any:
    """Dataclasses -> mappings, tuples -> lists, NaN and infinities -> None."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if isinstance(value, Figure) else {}
        return kind | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
