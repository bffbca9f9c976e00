"""Who sees whom, token by token in plain Python. Slow twin of `cutaway.model.visibility.allow`; design seam 3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """The six integers of one token."""

    known: int
    reads: int
    group: int
    rank: int
    segment: int
    position: int


def sees(query: Token, key: Token, window: int | None = None, sinks: int = 0) -> bool:
    """Whether the query may look at the key."""
    if query.segment != key.segment:
        return False
    if window is not None and abs(query.position - key.position) >= window and key.position >= sinks:
        return False
    if key.known <= query.reads:
        return True
    return query.group >= 0 and key.group == query.group and key.rank <= query.rank


def table(queries: list[Token], keys: list[Token], window: int | None = None, sinks: int = 0) -> list[list[bool]]:
    """[query][key] of bool."""
    return [[sees(query, key, window, sinks) for key in keys] for query in queries]
