"""Errors that a person can act on. In: what was wrong. Out: one message with the value got, the values allowed, the next step.

Every error that a user can cause is a `CutawayError` (a `ValueError`); the command line prints its message without a
traceback and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CutawayError(ValueError):
    """Something that the user can mend: a missing file, an unknown key, an impossible size."""


def near(name: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt name: " Did you mean 'x'?" or the list of what is allowed.

    name: the name got. allowed: the names that exist. Returns a sentence with a leading space, or "" when none exist.
    """
    names = sorted(allowed)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return " Did you mean " + " or ".join(f"'{match}'" for match in close) + "?"
    return f" Allowed: {', '.join(names)}." if names else ""
