"""The compiled kernels, if they can run here. In: nothing. Out: the library for this processor, or why there is none.

It is admitted by a self-test, and it shares torch's pool of threads: a second pool beside it would halve the speed of both.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Callable
from ctypes import c_float, c_int, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any

import torch

from .build import LIBRARY, fingerprint

SWITCH = "CUTAWAY_KERNELS"
FLOATS_OF = {"avx512vnni": "avx512"}  # sets that only some units are compiled for
SIZE, PLACE = c_ssize_t, c_void_p
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "product": (*[SIZE] * 3, PLACE, SIZE, SIZE, PLACE, SIZE, SIZE, PLACE, SIZE, PLACE, PLACE, c_int),
    "product_few": (*[SIZE] * 3, *[PLACE] * 4, c_int),
    "gelu": (SIZE, PLACE, PLACE, c_int),
    "gelu_backward": (SIZE, PLACE, PLACE, PLACE, c_int),
    "attention": (PLACE, *[PLACE] * 4, PLACE),
    "attention_backward": (PLACE, *[PLACE] * 4, PLACE, *[PLACE] * 4),
    "replay": (PLACE, SIZE, PLACE, c_int),
    "rms_norm_rows": (SIZE, SIZE, PLACE, PLACE, c_float, c_float, PLACE, c_int),
    "gate_rows": (SIZE, c_int, PLACE, PLACE, PLACE, c_int),
    "rotate_rows": (*[PLACE] * 5, c_int),
    "rows_dense": (PLACE, SIZE, PLACE, PLACE, PLACE, SIZE, SIZE),
}


class Shape(ctypes.Structure):
    """What attention must know of its tensors."""

    _fields_ = (
        *((name, SIZE) for name in ("batch", "heads", "kv_heads", "queries", "keys", "width")),
        ("scale", c_float),
        ("is_causal", c_int),
        ("num_threads", c_int),
    )


class Heads(ctypes.Structure):
    """A tensor [batch, head, position, d_head] by its place and its strides."""

    _fields_ = (("data", PLACE), ("batch", SIZE), ("head", SIZE), ("position", SIZE))


class Library:
    """The kernels of one instruction set, as functions."""

    def __init__(self, loaded: ctypes.CDLL, instructions: str) -> None:
        self.instructions = instructions
        self.product = _function(loaded, "product", instructions)
        self.product_few = _function(loaded, "product_few", instructions)
        self.gelu = _function(loaded, "gelu", instructions)
        self.gelu_backward = _function(loaded, "gelu_backward", instructions)
        self.attention = _function(loaded, "attention", instructions)
        self.attention_backward = _function(loaded, "attention_backward", instructions)
        self.replay = _function(loaded, "replay", instructions)
        self.rms_norm_rows = _function(loaded, "rms_norm_rows", instructions)
        self.gate_rows = _function(loaded, "gate_rows", instructions)
        self.rotate_rows = _function(loaded, "rotate_rows", instructions)
        self.rows_dense = _function(loaded, "rows_dense", instructions)


@functools.cache
def library() -> Library | str:
    """The kernels, or a sentence that says why they do not run here.

    The environment variable CUTAWAY_KERNELS chooses: `off`, or the name of an instruction set, beyond which none is used.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted == "off":
        return f"they are turned off by {SWITCH}"
    stamp = LIBRARY.with_suffix(".sources")
    if not LIBRARY.is_file() or not stamp.is_file():
        return "they were not built; install a C++ compiler and the package again"
    if stamp.read_text("ascii") != fingerprint():
        return f"they were built from other sources; run `python {LIBRARY.with_name('build.py')}`"
    found = [name for name in supported() if not wanted or name == FLOATS_OF.get(wanted, wanted)]
    if not found:
        return f"this processor has none of the instruction sets asked for ({wanted or 'AVX2, AVX-512, NEON'})"
    pool = _thread_pool()
    if pool is None:
        return "torch brings no OpenMP pool that they could share"
    try:
        ctypes.CDLL(pool, ctypes.RTLD_GLOBAL)
        kernels = Library(ctypes.CDLL(str(LIBRARY)), found[0])
    except (OSError, AttributeError) as error:
        return f"they cannot be loaded ({error})"
    return kernels if _computes(kernels) else "their self-test failed"


def supported() -> list[str]:
    """The instruction sets with kernels that this processor has, best first."""
    if platform.machine() == "aarch64":
        return ["neon"]
    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": ["avx512", "avx2"], "AVX2": ["avx2"]}.get(capability, [])


def _function(loaded: ctypes.CDLL, name: str, instructions: str) -> Callable[..., None]:
    function = loaded[f"cutaway_{name}_{instructions}"]
    function.argtypes, function.restype = SIGNATURES[name], None
    return function


def _thread_pool() -> str | None:
    """The OpenMP library that torch has loaded."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    paths = (line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line)
    return next((path for path in paths if path.startswith("/")), None)


def _computes(kernels: Library) -> bool:
    """A product of odd sizes, right to the last place that matters."""
    left, right = (
        torch.arange(float(rows * columns)).view(rows, columns) % 7 - 3 for rows, columns in ((13, 37), (37, 35))
    )
    out = torch.full((13, 35), torch.nan)  # not empty: freed memory may hold the right answer of an earlier test
    kernels.product(13, 35, 37, left.data_ptr(), 37, 1, right.data_ptr(), 35, 1, out.data_ptr(), 35, None, None, 1)
    return torch.equal(out, left @ right)
