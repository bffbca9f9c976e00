"""Where to train. In: a name. Out: a device of torch."""

from __future__ import annotations

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
