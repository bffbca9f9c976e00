"""Where a model runs, or trains. In: a name. Out: a device of torch."""

from __future__ import annotations

from typing import Final

import torch

from ..errors import CutawayError

CPU = torch.device("cpu")
DEVICES: Final = ("auto", "cpu", "cuda")


def find_device(name: str, setting: str = "device") -> torch.device:
    """auto is a GPU where torch sees one, else the processor. setting: what the name was given to, for messages.

    Raises CutawayError for another name, and for a GPU that is not there.
    """
    if name not in DEVICES:
        raise CutawayError(f"{setting} is '{name}'. Allowed: {', '.join(DEVICES)}.")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise CutawayError(
            f"{setting} is '{name}', and torch {torch.__version__} sees no GPU here. Install a torch built for your GPU, or take "
            "'cpu' or 'auto'."
        )
    return torch.device("cuda")


def is_gpu(device: torch.device) -> bool:
    """Whether models on this device run as they do on a GPU: see `runtime.gpu`."""
    return device.type == "cuda"
