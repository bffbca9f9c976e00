"""Opening a large checkpoint. In: 1.1 billion random weights in bf16, written by this benchmark. Out: seconds, memory, reading.

Each opening is a process of its own that has imported torch already; the file is in the system's cache, for it was just written.
Memory is the process's peak less what it had before; all shares are of the size of the weights' file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from figure import Options, Row, sample, within
from worker import Worker

SIDE, REPETITIONS, SECONDS = "sides.opening", 5, 3.0
SHARE_OF_MEMORY, SHARE_READ = 1.15, 1.01


def measure(options: Options) -> list[Row]:
    """Seconds, peak of memory, and how often every byte is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model")
        with Worker(SIDE, "write", path=path, is_small=options.is_quick) as writer:
            count = writer.ask()["parameters"]
        found = [_open(path) for _ in range(options.repeat(REPETITIONS))]
    seconds, memory, read = (
        [answer[name] for answer in found] for name in ("seconds", "share_of_memory", "share_read")
    )
    name = f"opening {count / 1e9:.1f} B parameters in bf16"
    return [
        within(f"{name}: seconds, warm", sample(seconds, "{:.2f} s"), SECONDS),
        within(f"{name}: most memory, of the file's size", sample(memory, "{:.3f}×"), SHARE_OF_MEMORY),
        within(f"{name}: bytes read, of the file's size", sample(read, "{:.3f}×"), SHARE_READ),
    ]


def _open(path: str) -> dict[str, float]:
    with Worker(SIDE, "open_once", path=path) as side:
        return dict(side.ask())
