"""What a checkpoint of a run holds. In: model, tokenizer, optimisers. Out: one directory, written whole or not at all.

A model directory that every tool opens, with `train_state.safetensors` beside the weights; optimisers come back bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..errors import CutawayError
from ..model import Transformer
from ..model.adapter import adapters
from ..weights import checkpoint
from ..weights.adapters import write_adapter
from ..weights.atomic import write_directory
from ..weights.train_state import save_state

STATE_FILE = "train_state.safetensors"
OTHER_RUN = "The checkpoint is damaged or of another run: start over with --fresh."


def save_run_checkpoint(
    path: Path,
    model: Transformer,
    save_beside: Callable[[Path], None],
    optimisers: Sequence[Optimizer],
    facts: Mapping[str, Any],
    *,
    base: str = "",
) -> None:
    """Write the checkpoint of a step. save_beside: writes the tokenizer's files into a directory. facts: numbers and texts
    kept with the optimisers' state, JSON-able.

    Of a model with adapters these alone are written, in PEFT's form. base: where the model lies that they change.
    Raises CutawayError if the system refuses (a full disk, say); checkpoints written before are untouched.
    """

    def beside(temporary: Path) -> None:
        save_beside(temporary)
        save_state(temporary / STATE_FILE, optimiser_tensors(optimisers), facts)

    def adapters_beside(temporary: Path) -> None:
        write_adapter(temporary, model, base=base)
        beside(temporary)

    if adapters(model):
        write_directory(path, adapters_beside)
        return
    # No notes beside the weights: safetensors writes several in any order, and equal runs should give equal files.
    checkpoint.save(path, model, tokenizer_files=beside)


def optimiser_tensors(optimisers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every state tensor under `optimiser.parameter.name`, parameters numbered as in their groups."""
    return {
        f"{index}.{parameter}.{name}": value
        for index, optimiser in enumerate(optimisers)
        for parameter, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimisers(optimisers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Give the optimisers back the state that `optimiser_tensors` named.

    Raises CutawayError for the state of other optimisers or of another model.
    """
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimisers]
    for key, value in tensors.items():
        owner, parameter, name = _place(key)
        if owner >= len(states):
            raise CutawayError(f"The saved state is of more than {len(states)} optimisers. {OTHER_RUN}")
        states[owner].setdefault(parameter, {})[name] = value
    for optimiser, state in zip(optimisers, states, strict=True):
        _check_shapes(optimiser, state)
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _place(key: str) -> tuple[int, int, str]:
    owner, parameter, name = [*key.split(".", 2), "", ""][:3]
    if not (owner.isdecimal() and parameter.isdecimal() and name):
        raise CutawayError(f"The saved state holds '{key}', which is no state of an optimiser. {OTHER_RUN}")
    return int(owner), int(parameter), name


def _check_shapes(optimiser: Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if set(state) != set(range(len(parameters))):
        raise CutawayError(f"The saved state is of {len(state)} parameters and not of {len(parameters)}. {OTHER_RUN}")
    for index, parameter in enumerate(parameters):
        for name, value in state[index].items():
            if value.shape not in (parameter.shape, ()):
                raise CutawayError(f"The saved {name} of parameter {index} is {list(value.shape)}. {OTHER_RUN}")
