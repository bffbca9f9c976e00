"""Memory that is freed and wanted again. In: nothing. Out: an allocator that keeps it at hand."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8  # malloc.h


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next pass: without it every large tensor is paged in anew.

    That is a tenth of a step of training. Threads share the one heap of the process, for their own keep no large tensor:
    a pass over 4,096 tokens takes a quarter longer there. To be called before threads are. Does nothing where the C library
    has no mallopt.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((TRIM_THRESHOLD, 2**31 - 1), (MMAP_THRESHOLD, 2**30), (TOP_PAD, 2**26), (ARENA_MAX, 1)):
        mallopt(option, value)
