"""Freed memory is kept, in every thread: the second tensor of a size is paged in by nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORK = """
import resource, sys, threading
if sys.argv[1] == "kept":
    from cutaway.runtime.memory import keep_freed_memory
    keep_freed_memory()
    keep_freed_memory()

def faults():
    for turn in range(4):
        b"x" * 80_000_000
        if turn == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

found = []
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
print(*found)
"""


def faults(how: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", WORK, how], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_what_is_freed_is_kept_in_every_thread() -> None:
    assert min(faults("paged")) > 1000
    assert max(faults("kept")) < 100
