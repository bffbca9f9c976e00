"""A newcomer's questions about transformers, each answered by an experiment. In: a name, a model, settings. Out: a `Lesson`.

names() · entries() (with titles) · refusal(name, lm) (why a model does not suit) · read(name, lm, settings)

Nothing is stored: every number of a lesson is computed on the model when it is read, and so is its own test (`Lesson.wrong`).
"""

from .lesson import Check, Entry, Finding, Lesson, Next, Shown
from .settings import Setting
from .shelf import entries, entry, names, read, refusal

__all__ = [
    "Check", "Entry", "Finding", "Lesson", "Next", "Setting", "Shown", "entries", "entry", "names", "read", "refusal",
]  # fmt: skip
