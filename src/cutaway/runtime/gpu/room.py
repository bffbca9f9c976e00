"""Does it fit? In: a config, a batch, a store. Out: bytes needed; an error, before anything is made, where they are not there."""

from __future__ import annotations

import torch

from ...config import ModelConfig
from ...cost import cache_bytes, memory_bytes
from ...errors import CutawayError
from ..budget import bytes_left

SPARE = 2**30  # for activations, logits, and the kernels themselves


def needed_bytes(config: ModelConfig, *, batch: int = 1, capacity: int, bytes_per_number: int = 2) -> float:
    """Bytes of weights and of a static store, and what a pass takes beside them.

    The weights of the layers are there twice for a moment while they are merged, one layer at a time, which the spare covers.
    """
    weights = memory_bytes(config, bytes_per_number)
    return weights + batch * cache_bytes(config, capacity, bytes_per_number) + SPARE


def check_device_memory(needed: float, device: torch.device) -> None:
    """Raises CutawayError where a device has not so many bytes left; passes where nobody says how many there are."""
    available = bytes_left(device)
    if available is not None and needed > available:
        raise CutawayError(
            f"{device} would need {needed:,.0f} bytes ({needed / 1e9:,.1f} GB), and {available:,.0f} ({available / 1e9:,.1f} GB) "
            "are available. Take a smaller shape, batch or capacity, or end other programs."
        )
