"""What a checkpoint of a run holds. In: model, tokenizer, optimisers. Out: one directory, written whole or not at all.

A model directory that every tool opens, with `train_state.safetensors` beside the weights; optimisers come back bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..model import Transformer
from ..text import Tokenizer
from ..weights import checkpoint
from ..weights.train_state import save_state

STATE_FILE = "train_state.safetensors"


def save_run_checkpoint(
    path: Path, model: Transformer, tokenizer: Tokenizer, optimisers: Sequence[Optimizer], facts: Mapping[str, Any]
) -> None:
    """Write the checkpoint of a step. facts: numbers and texts kept with the optimisers' state, JSON-able.

    Raises CutawayError if the system refuses (a full disk, say); checkpoints written before are untouched.
    """

    def beside(temporary: Path) -> None:
        tokenizer.save(temporary)
        save_state(temporary / STATE_FILE, optimiser_tensors(optimisers), facts)

    checkpoint.save(path, model, tokenizer_files=beside, metadata={"step": str(facts["step"])})


def optimiser_tensors(optimisers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every state tensor under `optimiser.parameter.name`, parameters numbered as in their groups."""
    return {
        f"{index}.{parameter}.{name}": value
        for index, optimiser in enumerate(optimisers)
        for parameter, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimisers(optimisers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Give the optimisers back the state that `optimiser_tensors` named."""
    for index, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, parameter, name = key.split(".", 2)
            if int(owner) == index:
                state.setdefault(int(parameter), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
