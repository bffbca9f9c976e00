"""How tensors lie in a GGUF file, where not as in a checkpoint. In: tensors of a checkpoint. Out: what the file holds, and back.

Words for name tables, beside those of ..layout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import Shape


class PairedRows:
    """Rotary pairs of a head are rows i and i + pairs in a checkpoint, and neighbours in the file (Su et al. 2021, eq. 34)."""

    def __init__(self, num_heads: int) -> None:
        self.num_heads = num_heads

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """The same."""
        return ours

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out, d_in] -> [d_out, d_in], the rows of each head in another order."""
        return [tensor.unflatten(0, (self.num_heads, 2, -1)).transpose(1, 2).flatten(0, 2) for tensor in ours]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they are the same)
        """And back."""
        return [tensor.unflatten(0, (self.num_heads, -1, 2)).transpose(1, 2).flatten(0, 2) for tensor in theirs]


class PartsTogether:
    """Queries, keys and values lie head after head in a checkpoint, and part after part in the file."""

    def __init__(self, num_heads: int) -> None:
        self.num_heads = num_heads

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """The same."""
        return ours

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out, d_in] -> [d_out, d_in], all queries first."""
        return [tensor.unflatten(0, (self.num_heads, 3, -1)).transpose(0, 1).flatten(0, 2) for tensor in ours]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they are the same)
        """And back."""
        return [tensor.unflatten(0, (3, self.num_heads, -1)).transpose(0, 1).flatten(0, 2) for tensor in theirs]


class OneAdded:
    """A norm's scale is stored without the 1 that is added to it in a checkpoint, and with it in the file."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """The same."""
        return ours

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """Each number and 1."""
        return [tensor.float() + 1 for tensor in ours]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they are the same)
        """And back."""
        return [tensor - 1 for tensor in theirs]


class Stacked:
    """The matrices of all experts are one tensor in the file."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """[d_out, d_in], several -> [expert, d_out, d_in], one."""
        return [(len(ours), *ours[0])]

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out, d_in], several -> [expert, d_out, d_in], one."""
        return [torch.stack(ours)]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they follow)
        """[expert, d_out, d_in], one -> [d_out, d_in], several."""
        return list(theirs[0].unbind())


ONE_ADDED, STACKED = OneAdded(), Stacked()
