"""The mean of a run's last checkpoints. In: their directories. Out: weights, each the mean over all.

Noise of the last steps cancels out (Polyak & Juditsky 1992; Vaswani et al. 2017 §6.1 average the last five or twenty).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..errors import CutawayError
from ..weights import checkpoint


def averaged(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights, summed in float64, under their names. Raises CutawayError for checkpoints of different models."""
    sums: dict[str, Tensor] = {}
    for path in paths:
        state = checkpoint.load(path).state_dict()
        if sums and state.keys() != sums.keys():
            raise CutawayError(
                f"{path} and {paths[0]} hold different models, which have no mean. Name checkpoints of one run."
            )
        for name, weight in state.items():
            sums[name] = sums[name] + weight.double() if name in sums else weight.double()
    return {name: (total / len(paths)).float() for name, total in sums.items()}
