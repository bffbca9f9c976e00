"""A model on a GPU. In: a model as it was opened, a device. Out: the same model there, in a type in which it is to run there."""

from __future__ import annotations

import torch

from ...errors import CutawayError
from ...model.transformer import Transformer
from .merged import merge_projections
from .room import check_device_memory, needed_bytes


def move(model: Transformer, device: torch.device) -> None:
    """In place, with projections of one input as one. Sessions are opened afterwards, and take their memory then.

    Raises CutawayError, before anything is moved, where the device has no room for the weights and a pass.
    """
    size = model.token.weight.element_size()
    check_device_memory(needed_bytes(model.config, capacity=0, bytes_per_number=size), device)
    model.to(device)
    merge_projections(model)


def type_of(bits: int | None, *, is_half: bool) -> torch.dtype:
    """The type in which weights are kept on a GPU: all of them, and what is computed.

    bits: 32 or 16; None: 16 where the file holds 16 (is_half), else 32. Raises CutawayError for others.
    """
    if bits not in (None, 32, 16):
        raise CutawayError(
            f"bits is {bits}, and the model is to run on a GPU, where weights are kept in 32 or 16 bits. Ask for one of these, "
            "or for the device 'cpu'."
        )
    return torch.bfloat16 if bits == 16 or (bits is None and is_half) else torch.float32
