"""A side of a comparison in a process of its own. In: what makes the side. Out: the answers of its methods, asked by name.

Both sides live at the same time and take turns; who is not asked waits for a question. In one process they would disturb each
other: torch and llama.cpp each bring an OpenMP library, whose threads look for work for a while after they have ended some.
Every answer says what CPU time the waiting took, so that a side which computes while the other is measured is found out.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from ...errors import CutawayError

SECONDS_TO_END = 5.0


class Worker:
    """The side `make(*arguments)`; a context manager. Raises what making it raised; both must be importable and plain to send."""

    def __init__(self, make: Callable[..., object], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.forget_idle()
        try:
            self._receive()
        except BaseException:
            self.end()
            raise

    def ask(self, method: str, *arguments: object) -> Any:
        """What the side's method returns. Raises CutawayError as it does, and RuntimeError, with the traceback, for all else."""
        self._pipe.send((method, arguments))
        return self._receive()

    @property
    def idle(self) -> float:
        """CPU time that the side took while it was not asked, of the time that it waited."""
        return self._idle_cpu / self._idle_wall if self._idle_wall else 0.0

    def forget_idle(self) -> None:
        """Count the waiting from now on."""
        self._idle_wall = self._idle_cpu = 0.0

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _receive(self) -> Any:
        try:
            answer, wrong, wall, cpu = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(SECONDS_TO_END)
            raise CutawayError(
                f"A process of the comparison ended by itself, {why_ended(self._process.exitcode)}"
            ) from None
        self._idle_wall, self._idle_cpu = self._idle_wall + wall, self._idle_cpu + cpu
        if isinstance(wrong, BaseException):
            raise wrong
        return answer


def why_ended(code: int | None) -> str:
    """What is likely behind an exit code, below 0 of a signal, and what to do: the end of a sentence."""
    if code == -signal.SIGILL:
        return (
            "at an instruction that this machine refuses. Was llama.cpp built for another one, or with AMX where that is not to "
            "be had? Install it again with CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON', say."
        )
    return f"with code {code}: the memory may not suffice. Take a smaller shape, or end other programs."


def serve(pipe: Connection, make: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """In the other process: make the side, then answer until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks, and ends this one by ending
    side = _answer(pipe, lambda: make(*arguments), 0.0, 0.0, is_sent=False)
    while side is not None:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            method, given = pipe.recv()
        except (EOFError, ConnectionError):
            return
        idle = time.perf_counter() - wall, time.process_time() - cpu
        _answer(pipe, lambda: getattr(side, method)(*given), *idle)  # noqa: B023 (called at once)


def _answer(pipe: Connection, work: Callable[[], Any], wall: float, cpu: float, *, is_sent: bool = True) -> Any:
    """Do it, and send what comes of it. is_sent: whether the result itself goes to the other side."""
    try:
        found = work()
        pipe.send((found if is_sent else None, None, wall, cpu))
    except CutawayError as error:
        pipe.send((None, error, wall, cpu))
    except Exception:
        pipe.send((None, RuntimeError(traceback.format_exc()), wall, cpu))
    else:
        return found
    return None
