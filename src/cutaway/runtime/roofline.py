"""What a machine can do at most. In: nothing. Out: bytes a second that its memory gives, operations a second that its cores do.

A computation that does f operations on b bytes takes at least max(f / peak, b / bandwidth): the roofline (Williams et al. 2009).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .budget import CPU, bytes_left

READ_BYTES = 2**28  # at least so many are read, and more where a cache may hold them: so many times its size
TIMES_CACHE = 4
SECONDS = 0.3  # of one measurement
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
PROCESSOR = Path("/proc/cpuinfo")
VECTORS = (  # that products of matrices use, as Linux names them: x86, then ARM
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve"),
)
TRIED = 256  # rows and columns of a product that shows whether a type of numbers is worth measuring


@dataclass(frozen=True, kw_only=True)
class Machine:
    """read: bytes a second. peak: fp32 operations a second. cache: bytes of the largest cache, None where nobody says.

    cores: that this process may use; threads: that torch uses. narrow: operations a second with numbers of so many bits, where
    they were measured. instructions: the sets of vector instructions that the processor has.
    """

    read: float
    peak: float
    cache: int | None
    cores: int
    threads: int
    narrow: Mapping[int, float] = field(default_factory=dict)
    instructions: tuple[str, ...] = ()

    def peak_of(self, bits: int = 32) -> float:
        """Operations a second where numbers have `bits` bits or more: narrow ones may be multiplied as wide ones."""
        return max([self.peak, *(rate for width, rate in self.narrow.items() if width >= bits)])

    def ridge(self, bits: int = 32) -> float:
        """Operations a byte from which on arithmetic is the limit."""
        return self.peak_of(bits) / self.read

    def seconds(self, flops: float, num_bytes: float, bits: int = 32) -> float:
        """The least time of a computation."""
        return max(flops / self.peak_of(bits), num_bytes / self.read)


def measure_machine(seconds: float = SECONDS) -> Machine:
    """Measure this machine, which takes about three times `seconds`, and longer where it is fast in bf16 or int8."""
    peak = max(peak_flops(size=size, seconds=seconds) for size in (768, 1536))
    found = {bits: _narrow_peak(dtype, peak, seconds) for bits, dtype in ((16, torch.bfloat16), (8, torch.int8))}
    return Machine(
        read=read_bandwidth(seconds=seconds),
        peak=peak,
        cache=largest_cache(),
        cores=num_cores(),
        threads=torch.get_num_threads(),
        narrow={bits: rate for bits, rate in found.items() if rate is not None},
        instructions=instruction_sets(),
    )


def read_bandwidth(num_bytes: int | None = None, *, seconds: float = SECONDS) -> float:
    """Bytes that this machine reads from memory in a second: the fastest of some sums of one buffer.

    num_bytes: of the buffer; None: more than the caches hold.
    """
    num_bytes = num_bytes or above_caches()
    buffer = torch.ones(num_bytes // 4)
    return num_bytes / fastest(buffer.sum, seconds=seconds)


def above_caches() -> int:
    """Bytes of which a cache keeps next to nothing until they are read again; no more than a quarter of the memory at hand."""
    wanted, free = TIMES_CACHE * (largest_cache() or 0), bytes_left()
    return max(READ_BYTES, wanted if free is None else min(wanted, free // 4))


def peak_flops(
    dtype: torch.dtype = torch.float32, device: torch.device = CPU, *, size: int | None = None, seconds: float = SECONDS
) -> float:
    """Operations a second: the fastest of some products of one square matrix with another.

    size: of the square; None: 1,024 on a processor, 8,192 elsewhere, which takes so much to be busy. int8 is summed in 32 bits.
    """
    size = size or (1024 if device == CPU else 8192)
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    multiply = torch._int_mm if dtype is torch.int8 else torch.mm

    def work() -> float:
        return multiply(left, right)[0, 0].item()  # which waits for the device

    return 2 * size**3 / fastest(work, seconds=seconds)


def fastest(work: Callable[[], object], *, seconds: float = SECONDS, most: float = math.inf) -> float:
    """Seconds of the fastest of the runs that begin within some time, two at least, and no more than `most`."""
    best, number, ends = math.inf, 0, time.perf_counter() + seconds
    while number < 2 or (number < most and time.perf_counter() < ends):
        started = time.perf_counter()
        work()
        best, number = min(best, time.perf_counter() - started), number + 1
    return best


def _narrow_peak(dtype: torch.dtype, peak: float, seconds: float) -> float | None:
    """The rate of narrow numbers, or None where a small product says that a processor without their instructions is at work."""
    try:
        tried = peak_flops(dtype, size=TRIED, seconds=seconds / 10)
    except (RuntimeError, NotImplementedError):  # torch has no such product here
        return None
    return peak_flops(dtype, seconds=seconds) if tried > peak / 2 else None


def instruction_sets() -> tuple[str, ...]:
    """The vector instructions that this processor has, of those that products use; empty where the system does not tell."""
    try:
        lines = [line.partition(":") for line in PROCESSOR.read_text("utf-8").splitlines()]
    except OSError:
        return ()
    flags = next((value.split() for key, _, value in lines if key.strip().lower() in ("flags", "features")), [])
    return tuple(name for name in VECTORS if name in flags)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def largest_cache() -> int | None:
    """Bytes of the largest cache of a core, as Linux tells."""
    try:
        sizes = [(path / "size").read_text("ascii").strip() for path in CACHES.glob("index*")]
        return max(int(size.removesuffix("K")) * 1024 for size in sizes)
    except (OSError, ValueError):
        return None
