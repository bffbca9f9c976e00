"""A desk that is still being set up. In: how that is done, and asks that come meanwhile. Out: their answers, once it stands.

To import torch and to read a model takes seconds. In a thread of its own they pass while the browser opens the page and reads its
modules; what the page asks waits here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from .wire import Answer, Answering


class Opening:
    """What answers, from `begin` on. Safe to use from many threads."""

    def __init__(self, make: Callable[[], Answering]) -> None:
        """make: sets the desk up, and gives what answers."""
        self._make = make
        self._is_over = threading.Event()
        self._made: Answering | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Set it up, and return at once."""
        threading.Thread(target=self._run, daemon=True).start()

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """The answer of the desk. Raises what setting it up has raised."""
        self.wait()
        assert self._made is not None, "made, or an error was raised"
        return self._made(method, path, query, body)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it stands, None: as long as that takes. Whether it does. Raises what setting it up has raised."""
        is_over = self._is_over.wait(seconds)
        self.check()
        return is_over

    def check(self) -> None:
        """Raise what setting it up has raised, if it has failed by now."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._made = self._make()
        except BaseException as error:
            self._error = error
        finally:
            self._is_over.set()
