"""The state of optimisers as named tensors. In: optimisers. Out: tensors to save, and the same optimisers restored bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.optim import Optimizer


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
