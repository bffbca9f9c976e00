"""What this machine can do. In: nothing. Out: its best arithmetic rate, measured, to which training speed is compared."""

from __future__ import annotations

import time

import torch


def peak_flops(dtype: torch.dtype = torch.float32, size: int = 1024, seconds: float = 0.15) -> float:
    """The best rate of a square matrix product over a short time, in floating-point operations a second."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    left @ right
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next step: without it every large tensor is paged in anew (a tenth of a step).

    Does nothing where the C library has no mallopt.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold, top_pad = -1, -3, -2
    for option, num_bytes in ((trim_threshold, 2**31 - 1), (mmap_threshold, 2**30), (top_pad, 2**26)):
        mallopt(option, num_bytes)
