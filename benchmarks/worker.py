"""A side of a comparison in a process of its own. In: a function's name and settings. Out: its answers, one per question.

Both sides of a comparison live at the same time and take turns; who is not asked waits in a blocking read. Every answer says
what CPU time the waiting took, so that a side which spins while the other is measured is found out.

Run as a program, this is the process: `worker.py MODULE FUNCTION SETTINGS`. FUNCTION prepares and returns what answers.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from figure import BenchmarkError


@dataclass(slots=True)
class Idle:
    """What a process did while it was not asked: seconds of wall time and of CPU time, all threads."""

    wall: float = 0.0
    cpu: float = 0.0


class Worker:
    """The side `module.function(**settings)`; a context manager. Raises BenchmarkError when the process fails."""

    def __init__(self, module: str, function: str, **settings: Any) -> None:
        self.name, self.idle, self.peak_bytes = f"{module}.{function}", Idle(), 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, __file__, module, function, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self._receive()

    def ask(self, **question: Any) -> Any:
        """What the side answers."""
        pipe = self.process.stdin
        assert pipe is not None, "opened as a pipe"
        print(json.dumps(question), file=pipe, flush=True)
        answer = self._receive()
        self.idle.wall += answer["idle_wall"]
        self.idle.cpu += answer["idle_cpu"]
        self.peak_bytes = answer["peak_bytes"]
        return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _receive(self) -> dict[str, Any]:
        pipe = self.process.stdout
        assert pipe is not None, "opened as a pipe"
        line = pipe.readline()
        if not line:
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip()[-2000:]
            self._end()
            raise BenchmarkError(f"{self.name} failed: {said}")
        return dict(json.loads(line))

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def serve(module: str, function: str, settings: dict[str, Any]) -> None:
    """Prepare the side, say so, and answer questions until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not stand among the answers
    side = getattr(importlib.import_module(module), function)(**settings)
    print("{}", file=answers, flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        idle = {"idle_wall": time.perf_counter() - wall, "idle_cpu": time.process_time() - cpu}
        result = side(**json.loads(line))
        print(json.dumps({"result": result, "peak_bytes": peak_bytes(), **idle}), file=answers, flush=True)
        wall, cpu = time.perf_counter(), time.process_time()


def peak_bytes() -> int:
    """The most memory that this process has had in RAM."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
