"""What is known of a file before its numbers are read. In: a checked file, or what is about to be written. Out: typed access."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import CutawayError
from .values import SHOWN


@dataclass(frozen=True, kw_only=True)
class Source:
    """place: for messages. name: of the architecture. metadata, shapes: by key, and of the tensors by name. read: one of them."""

    place: str
    name: str
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    def get(self, key: str) -> Any:
        """The value of a key of the architecture, None where the file has it not; a list of one value for all is that value."""
        value = self.metadata.get(f"{self.name}.{key}")
        is_same = isinstance(value, np.ndarray) and value.size and bool((value == value[0]).all())
        return value[0].item() if isinstance(value, np.ndarray) and is_same else value

    def number(self, key: str, default: float | None = None) -> float:
        """A number. Raises CutawayError where it is something else, or missing without a default."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if type(value) not in (int, float):
            raise self.fault(key, "a number")
        return float(value)

    def integer(self, key: str) -> int:
        """A whole number above 0. Raises CutawayError where it is something else."""
        value = self.get(key)
        if type(value) is not int or value < 1:
            raise self.fault(key, "a whole number above 0")
        return value

    def fault(self, key: str, allowed: str) -> CutawayError:
        """The message for a key whose value is wrong or missing."""
        value = self.metadata.get(f"{self.name}.{key}")
        if value is None:
            return CutawayError(
                f"{self.place} has no key '{self.name}.{key}', without which its model cannot be built."
            )
        return CutawayError(f"{self.place}: '{self.name}.{key}' is {str(value)[:SHOWN]!r}. It takes {allowed}.")
