"""A command as a person runs it. In: its words. Out: the seconds from Enter until something was printed, or until the end.

Standard output is a terminal of its own, so that the command draws what a person would see.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from figure import BenchmarkError

PYTHON = sys.executable
CUTAWAY = str(Path(sysconfig.get_path("scripts")) / "cutaway")


def seconds_to_end(words: Sequence[str]) -> float:
    """Wall time of the whole command. Raises BenchmarkError when it fails."""
    return _run(words, lambda _: False)[1]


def seconds_to_print(words: Sequence[str], is_reached: Callable[[bytes], bool]) -> float:
    """Wall time until what was printed so far satisfies `is_reached`. Raises BenchmarkError when it fails or never does."""
    reached, _ = _run(words, is_reached)
    if reached is None:
        raise BenchmarkError(f"{' '.join(words)} ended without printing what was waited for.")
    return reached


def warm_environment() -> dict[str, str]:
    """The environment in which Python keeps compiled modules from one start to the next, as it does unless it is told not to."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _run(words: Sequence[str], is_reached: Callable[[bytes], bool]) -> tuple[float | None, float]:
    reader, writer = pty.openpty()
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=writer, stderr=errors, env=warm_environment()
        )
        os.close(writer)
        reached, printed = None, b""
        while part := _read(reader):
            printed += part
            if reached is None and is_reached(printed):
                reached = time.perf_counter() - start
        code, seconds = process.wait(), time.perf_counter() - start
        os.close(reader)
        if code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()[-2000:]
            raise BenchmarkError(f"{' '.join(words)} ended with code {code}: {said}")
    return reached, seconds


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # how Linux says that the other end of a terminal was closed
        return b""
