"""A side of a comparison that imports nothing heavy, for tests of the process that it lives in."""

from __future__ import annotations

import os
import signal

from cutaway.errors import CutawayError


class Counting:
    """It counts."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise CutawayError("start is below 0.")
        self.count = start

    def more(self, number: int) -> int:
        self.count += number
        return self.count

    def wrong(self, kind: str) -> None:
        if kind == "mine":
            raise CutawayError("It is too much.")
        raise KeyError(kind)

    def leave(self) -> None:
        raise SystemExit(3)

    def stumble(self) -> None:
        os.kill(os.getpid(), signal.SIGILL)
