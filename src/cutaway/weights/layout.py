"""How tensors lie in a file. In: our tensors. Out: what the file holds, and back; exactly, number for number.

A name table (see names) gives a chain of these words to each entry. `join` goes from ours to theirs, `split` back; `shapes`
tells what `join` would give, so that a file is compared with the config before anything of it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Word(Protocol):
    """One step from our tensors to the file's."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """The shapes of what `join` gives."""

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """Our tensors -> the file's."""

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:
        """The file's tensors -> ours, whose shapes are given."""


class Transposed:
    """[d_out, d_in] with us is [d_in, d_out] in the file; vectors are the same."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """[d_out, d_in] -> [d_in, d_out], each."""
        return [shape[::-1] for shape in ours]

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out, d_in] -> [d_in, d_out], each."""
        return [tensor.t() for tensor in ours]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they follow)
        """[d_in, d_out] -> [d_out, d_in], each."""
        return [tensor.t() for tensor in theirs]


class Fused:
    """Several matrices are one in the file, row after row: queries, then keys, then values."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """[d_out_i, d_in], several -> [sum of d_out_i, d_in], one."""
        return [(sum(shape[0] for shape in ours), *ours[0][1:])]

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out_i, d_in], several -> [sum of d_out_i, d_in], one."""
        return [torch.cat(ours)]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:
        """[sum of d_out_i, d_in], one -> [d_out_i, d_in], several."""
        return list(theirs[0].split([shape[0] for shape in ours]))


class Row:
    """[d_out] with us is [1, d_out] in the file: a table of one row."""

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """[d_out] -> [1, d_out], each."""
        return [(1, *shape) for shape in ours]

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out] -> [1, d_out], each."""
        return [tensor.unsqueeze(0) for tensor in ours]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:  # noqa: ARG002 (they follow)
        """[1, d_out] -> [d_out], each."""
        return [tensor.squeeze(0) for tensor in theirs]


class FusedByHead:
    """Several matrices are one in the file, head after head: each head's queries, then its keys, then its values."""

    def __init__(self, num_heads: int) -> None:
        self.num_heads = num_heads

    def shapes(self, ours: list[Shape]) -> list[Shape]:
        """[d_out_i, d_in], several -> [sum of d_out_i, d_in], one."""
        return FUSED.shapes(ours)

    def join(self, ours: list[Tensor]) -> list[Tensor]:
        """[d_out_i, d_in], several -> [sum of d_out_i, d_in], one."""
        parts = [tensor.unflatten(0, (self.num_heads, -1)) for tensor in ours]
        return [torch.cat(parts, dim=1).flatten(0, 1)]

    def split(self, theirs: list[Tensor], ours: list[Shape]) -> list[Tensor]:
        """[sum of d_out_i, d_in], one -> [d_out_i, d_in], several."""
        parts = theirs[0].unflatten(0, (self.num_heads, -1))
        return [part.flatten(0, 1) for part in parts.split([shape[0] // self.num_heads for shape in ours], dim=1)]


TRANSPOSED, FUSED, ROW = Transposed(), Fused(), Row()


def stored_shape(words: Sequence[Word], ours: Sequence[Shape]) -> Shape:
    """The shape of what the file holds of ours."""
    return _stages(words, ours)[-1][0]


def join(words: Sequence[Word], ours: Sequence[Tensor]) -> Tensor:
    """Our tensors -> the one that the file holds."""
    tensors = list(ours)
    for word in words:
        tensors = word.join(tensors)
    assert len(tensors) == 1, "a name in the file stands for one tensor"
    return tensors[0]


def split(words: Sequence[Word], theirs: Tensor, ours: Sequence[Shape]) -> list[Tensor]:
    """The tensor of the file -> ours, whose shapes are given; views where nothing forbids it."""
    tensors = [theirs]
    for word, shapes in zip(reversed(words), reversed(_stages(words, ours)[:-1]), strict=True):
        tensors = word.split(tensors, shapes)
    return tensors


def _stages(words: Sequence[Word], ours: Sequence[Shape]) -> list[list[Shape]]:
    """The shapes before the first word, and after each."""
    stages = [list(ours)]
    for word in words:
        stages.append(word.shapes(stages[-1]))
    return stages
