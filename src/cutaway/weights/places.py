"""Where a model's numbers live. In: a model. Out: its tensors by name, and new ones put into their places without a copy.

A checkpoint holds every parameter, and every table of positions, the sinusoidal ones too: what is added to the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Transformer
from ..model.adapter import adapters
from ..model.embedding import PositionTable
from ..model.projection import Projection

# What is told of each module of a model that is being read, as soon as it has its numbers, and says whether it took them.
Watcher = Callable[[Transformer], Callable[[nn.Module], bool]]
HALVES = (torch.bfloat16, torch.float16)


class Places:
    """All that a checkpoint holds of a model. tensors: by name; a tied head is the embedding, once."""

    def __init__(self, model: Transformer) -> None:
        """Raises CutawayError for a model with adapters or quantised weights: a checkpoint has no place for them."""
        if adapters(model):
            raise CutawayError(
                "The model has adapters, which a checkpoint does not hold. Save them by themselves (`save_adapter`), or `merge` "
                "them into the weights first."
            )
        if any(isinstance(module, Projection) and module.is_quantised for module in model.modules()):
            raise CutawayError(
                "The model is quantised, and a checkpoint holds weights in full precision. Open it with bits=32 to save it; "
                "`cutaway convert --to gguf --quantize` writes quantised files."
            )
        self.tensors: dict[str, Tensor] = {}
        self._owners: dict[str, list[tuple[nn.Module, str]]] = {}
        names: dict[int, str] = {}
        for path, module in model.named_modules():
            for key, tensor in _own(module).items():
                name = names.setdefault(id(tensor), f"{path}.{key}")
                self.tensors[name] = tensor
                self._owners.setdefault(name, []).append((module, key))

    def tell(self, names: Sequence[str], dtype: torch.dtype, told: Callable[[nn.Module], bool]) -> None:
        """That these were put: of each module that waited for no more. What is not taken is kept in `dtype`."""
        for module in {module: None for name in names for module, _ in self._owners.pop(name)}:
            if (
                any(tensor.is_meta for tensor in _own(module).values())
                or told(module)
                or not isinstance(module, Projection)
            ):
                continue
            if module.weight.dtype in HALVES and module.weight.dtype != dtype:
                module.weight = nn.Parameter(module.weight.detach().to(dtype))

    def are_matrices(self, names: Sequence[str]) -> bool:
        """Whether these are weights of projections, and of nothing else: who is told may take them as they are stored."""
        owners = [owner for name in names for owner in self._owners[name]]
        return all(isinstance(module, Projection) and key == "weight" for module, key in owners)

    def dtype(self, name: str, wanted: torch.dtype) -> torch.dtype:
        """The type in which a tensor is kept: a parameter in the one that is wanted, a fixed table in fp32."""
        return wanted if isinstance(self.tensors[name], nn.Parameter) else torch.float32

    def put(self, name: str, stored: Tensor, dtype: torch.dtype, *, is_borrowed: bool) -> Tensor:
        """Into its place, as `dtype`; what was tied stays tied. is_borrowed: it must be copied. Returns what was put."""
        is_parameter = isinstance(self.tensors[name], nn.Parameter)
        tensor = stored.to(dtype, copy=True, memory_format=torch.contiguous_format) if is_borrowed else stored
        assert tensor.dtype == dtype, "only a copy changes the type"
        value = nn.Parameter(tensor) if is_parameter else tensor
        for module, key in self._owners[name]:
            setattr(module, key, value)
        return value


def settle_tables(model: Transformer, stored: Callable[[str], Tensor | None]) -> ModelConfig:
    """The config of the model, with `learned` positions where a stored table is not the sinusoids that it promises.

    stored: gives the stored tensor of a name of ours, whose rounding is allowed for; None where the formula counts.
    """
    learned: dict[str, Any] = {}
    for name, stack in model.config.stacks.items():
        if stack.position.kind == "sinusoidal":
            path = f"{name}.embedding.position"
            found, formula = stored(f"{path}.weight"), _own(model.get_submodule(path))["weight"]
            if found is None:
                continue
            rounding = torch.finfo(found.dtype).eps * abs(stack.position.scale)
            if not bool(((found.float() - formula).abs() <= rounding).all()):
                learned[name] = replace(stack, position=replace(stack.position, kind="learned"))
    return replace(model.config, **learned)


def _own(module: nn.Module) -> dict[str, Tensor]:
    """What the module itself holds; other formulas (angles, slopes) follow from the config and are not kept."""
    own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    return {"weight": module.weight} if isinstance(module, PositionTable) else own
