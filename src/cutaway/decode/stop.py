"""Text up to a stop string. In: text piece by piece. Out: the text that is safe to show, and whether a stop was reached.

A stop may lie across the borders of pieces, so the end of the text that could be the start of a stop is held back.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CutawayError


class StopText:
    """Watches a text for stop strings. The first stop to be complete ends it; the text before that stop is what remains."""

    def __init__(self, stops: Sequence[str]) -> None:
        """stops: the strings that end the text, none of them empty. Raises CutawayError for an empty one or a bare string."""
        if isinstance(stops, str):
            raise CutawayError(f"stops is the text {stops!r}. Give a list of texts, for example [{stops!r}].")
        if "" in stops:
            raise CutawayError("A stop string is empty, and every text contains that. Leave it out.")
        self._stops = tuple(stops)
        self._held = ""
        self._is_stopped = False

    def push(self, text: str) -> tuple[str, bool]:
        """Add text. Returns what is now safe to show, and whether a stop was reached; after it, nothing comes any more."""
        if self._is_stopped:
            return "", True
        text, self._held = self._held + text, ""
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if found:
            self._is_stopped = True
            return text[: min(found)[1]], True
        start = len(text) - self._num_open(text)
        self._held = text[start:]
        return text[:start], False

    def finish(self) -> str:
        """What was still held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held

    def _num_open(self, text: str) -> int:
        """How many last characters of the text could be the start of a stop."""
        longest = max(map(len, self._stops), default=0) - 1
        sizes = range(min(longest, len(text)), 0, -1)
        return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in self._stops)), 0)
