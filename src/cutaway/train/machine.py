"""What this machine can do. In: nothing. Out: where to train, and the best arithmetic rate there, measured, to which training
speed is compared."""

from __future__ import annotations

import time

import torch

from ..errors import CutawayError

CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """Where to train: auto is a GPU where torch sees one, else the processor. Raises CutawayError for a GPU that is not there."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise CutawayError(
            f"training.device is '{name}', and torch {torch.__version__} sees no GPU here. Install a torch built for your GPU, "
            "or take 'cpu' or 'auto'."
        )
    return torch.device("cuda")


def peak_flops(
    dtype: torch.dtype = torch.float32, device: torch.device = CPU, *, size: int | None = None, seconds: float = 0.15
) -> float:
    """The best rate of a square matrix product over a short time, in floating-point operations a second.

    size: of the square; None: 1,024 on a processor, 8,192 elsewhere, which takes so much to be busy.
    """
    size = size or (1024 if device == CPU else 8192)
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        (left @ right)[0, 0].item()  # which waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
