"""Is the model still the one that was recorded? In: modules, tensors and knobs. Out: yes or no, soon enough to ask every token.

Weights that change in place are read anew by every replay. Weights that move, modules that are replaced (an adapter put on),
hooks and knobs end the plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import eq, is_
from typing import Any

from torch import Tensor, nn


class Guard:
    """What a plan stands on."""

    def __init__(self) -> None:
        self._children: list[dict[str, Any]] = []
        self._children_then: list[dict[str, Any]] = []
        self._tables: list[dict[str, Any]] = []  # of modules: parameters, buffers, knobs
        self._names: list[str] = []
        self._values: list[Any] = []
        self._hooks: list[Any] = []
        self._tensors: list[Tensor] = []
        self._places: list[int] = []

    def watch(self, module: nn.Module) -> None:
        """Its children, parameters, buffers and hooks."""
        if module._modules:
            self._children.append(module._modules)
            self._children_then.append(dict(module._modules))
        if "bias" in module.__dict__:
            self.knob(module, "bias")  # there is none: one that is put there moves to the parameters
        for table in (module._parameters, module._buffers):
            for name, value in table.items():
                self._note(table, name, value)
        self._hooks += [module._forward_hooks, module._forward_pre_hooks]

    def knob(self, module: nn.Module, name: str) -> Any:
        """An attribute that a leaf was recorded with."""
        value = module.__dict__[name]
        self._note(module.__dict__, name, value)
        return value

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Tensors whose memory is read."""
        self._tensors = list({id(tensor): tensor for tensor in tensors}.values())
        self._places = [tensor.data_ptr() for tensor in self._tensors]

    @property
    def holds(self) -> bool:
        """Whether all is as it was. Modules are equal to themselves alone, so that children are compared by a table at once."""
        if any(self._hooks) or not all(map(eq, self._children, self._children_then)):
            return False
        try:
            is_same = all(map(is_, map(dict.__getitem__, self._tables, self._names), self._values))
        except KeyError:
            return False
        return is_same and [*map(Tensor.data_ptr, self._tensors)] == self._places

    def _note(self, table: dict[str, Any], name: str, value: Any) -> None:
        self._tables.append(table)
        self._names.append(name)
        self._values.append(value)
