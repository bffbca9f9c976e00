"""A person at a terminal. In: what to type. Out: what the terminal shows. The terminal is a real one, so Ctrl-C is the key."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from types import TracebackType

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
# The terminal becomes that of the process, so that keys are signals.
CODE = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from cutaway.apps.cli import main; sys.exit(main(sys.argv[1:]))"
)
PATIENCE = 60.0


class Typist:
    """A command in a terminal of its own. Use as a context manager."""

    def __init__(self, *words: str, **variables: str) -> None:
        self._keys, terminal = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, *words],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env={**environment, **variables},
        )
        os.close(terminal)
        self._unread = ""

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keys)

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def line(self, text: str) -> None:
        self.type(text + "\r")

    def until(self, pattern: str) -> str:
        """What is shown up to the pattern, and no further. Keys count from a prompt on: what is typed before it may be lost."""
        while (found := re.search(pattern, self._unread, re.DOTALL)) is None:
            piece = self._read()
            assert piece, f"{pattern!r} does not come, and the command has ended; there is {self._unread!r}"
            self._unread += piece
        shown, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return shown

    def press(self, key: str, pattern: str) -> str:
        """What is shown up to the pattern, the key pressed again every second until then.

        Between two keys, Python's `input` loses the signal of a Ctrl-C until the next one: it comes before the wait for keys.
        """
        for _ in range(round(PATIENCE)):
            self.type(key)
            ends = time.monotonic() + 1.0
            while time.monotonic() < ends and not re.search(pattern, self._unread, re.DOTALL):
                if select.select([self._keys], [], [], 0.1)[0]:
                    self._unread += self._read()
            if re.search(pattern, self._unread, re.DOTALL):
                break
        return self.until(pattern)

    def end(self) -> tuple[str, int]:
        """What is still shown until the command ends, and its exit code."""
        while piece := self._read():
            self._unread += piece
        return self._unread, self.process.wait(PATIENCE)

    def _read(self) -> str:
        ready, _, _ = select.select([self._keys], [], [], PATIENCE)
        assert ready, f"nothing more is shown; there is {self._unread!r}"
        with contextlib.suppress(OSError):  # the terminal is gone with the process
            return os.read(self._keys, 4096).decode("utf-8", "replace")
        return ""
