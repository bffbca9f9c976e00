"""A pickle of weights (`pytorch_model.bin`) -> tensors. In: a path. Out: names, shapes and tensors, as of a safetensors file.

Read with torch's weights-only loading, which builds tensors and containers and calls nothing else, and mapped, so that a tensor
takes memory when it is read. What the file claims is held against its size: a view may repeat its numbers, but not without end.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from ..errors import CutawayError
from .tensor_file import Entry

MOST_TENSORS = 1_000_000


class PickleFile:
    """A file of tensors by name. entries: by name (their places in the file are not told); metadata: none."""

    def __init__(self, path: Path) -> None:
        """Open and check. Raises CutawayError for a missing or damaged file, and for one that holds more than weights."""
        self.path = path
        self.metadata: dict[str, str] = {}
        self._tensors = self._load()
        self.entries = {name: _entry(tensor) for name, tensor in self._tensors.items()}
        self._check_extent(path.stat().st_size)

    def read(self, name: str, scratch: Tensor | None = None) -> Tensor:
        """One tensor as it is stored, in memory of its own, or in the `scratch` given (bytes, as many as it needs or more)."""
        entry = self.entries[name]
        raw = torch.empty(entry.num_bytes, dtype=torch.uint8) if scratch is None else scratch[: entry.num_bytes]
        return raw.view(entry.dtype).view(entry.shape).copy_(self._tensors[name])

    def __enter__(self) -> PickleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tensors = {}

    def _load(self) -> dict[str, Tensor]:
        try:
            found = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True)
        except OSError as error:
            raise CutawayError(f"Could not open {self.path}: {error.strerror or error}.") from error
        except pickle.UnpicklingError as error:
            what = str(error).replace("\n", " ")
            raise self._fault(f"it holds more than weights, and nothing of it was run ({what[:120]}…)") from None
        except (
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            AssertionError,
            IndexError,
        ) as error:
            raise self._fault(f"it is damaged, or in a format older than torch 1.6 ({str(error)[:120]})") from None
        if not isinstance(found, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
        ):
            raise self._fault("it is not one table of tensors by name")
        return {name: tensor.detach() for name, tensor in found.items()}

    def _check_extent(self, size: int) -> None:
        largest = max((entry.num_bytes for entry in self.entries.values()), default=0)
        claimed = sum(entry.num_bytes for entry in self.entries.values())
        if len(self.entries) > MOST_TENSORS or largest > size or claimed > 2 * size:
            raise self._fault(f"its tensors claim {claimed:,} bytes, and the whole file has {size:,}")

    def _fault(self, what: str) -> CutawayError:
        advice = "Save the model as safetensors (save_pretrained does), in a place that you trust, and open that"
        return CutawayError(f"{self.path} is a pickle file that cannot be read: {what}. {advice}.")


def _entry(tensor: Tensor) -> Entry:
    return Entry(tensor.dtype, tuple(tensor.shape), 0, math.prod(tensor.shape) * tensor.dtype.itemsize)
