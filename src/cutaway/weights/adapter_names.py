"""Whose module an adapter stands on. In: a family's name table and a config. Out: modules of theirs with projections of ours.

An adapter of theirs is B A beside a matrix [d_out, d_in], also where the file holds that matrix turned. Where several of our
projections are one matrix of theirs, row after row, A is that of all of them, and B is cut as the rows are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..config import ModelConfig
from ..model import Transformer
from ..model.adapter import Adapter, matrices
from ..model.projection import Projection
from .families import FAMILIES, Family
from .layout import TRANSPOSED, Shape, Word, stored_shape
from .names import Mapped, expand
from .places import Places

WEIGHT = ".weight"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A module of theirs. ours: paths of the projections in it; shapes: [d_out, d_in] of each; rows: how they lie."""

    theirs: str
    ours: tuple[str, ...]
    shapes: tuple[Shape, ...]
    rows: tuple[Word, ...] = ()
    is_turned: bool = False

    @property
    def size(self) -> Shape:
        """[d_out, d_in] of the whole."""
        return stored_shape(self.rows, self.shapes)


class AdapterNames:
    """All that can have an adapter, in the names of one family. tensors: the map of every tensor; targets: by module."""

    def __init__(self, family: Family, config: ModelConfig, model: Transformer | None = None) -> None:
        """model: one of the config without numbers, where there is one already."""
        self.family, self.config = family, config
        model = model or hollow(config)
        self.tensors = {entry.theirs: entry for entry in expand(family.rules(config), Places(model).tensors)}
        shapes = {f"{path}{WEIGHT}": _shape(module) for path, module in matrices(model).items()}
        found = [
            _target(entry, tuple(shapes[name] for name in entry.ours))
            for entry in self.tensors.values()
            if all(name in shapes for name in entry.ours)
        ]
        self.targets = {target.theirs: target for target in [*found, *self._tied_head(model)]}

    def find(self, module: str) -> Target | None:
        """The target of a name in a file, which may lack the family's prefix."""
        return self.targets.get(module) or self.targets.get(self.family.prefix + module)

    def written(self, target: Target) -> str:
        """What a target is called in a file: a model without a head has no prefix."""
        return target.theirs if self.config.has_head else target.theirs.removeprefix(self.family.prefix)

    def _tied_head(self, model: Transformer) -> list[Target]:
        """The head that is the embedding itself: a module of theirs all the same."""
        if model.head is None or model.head.projection.weight is not model.token.weight:
            return []
        original = next(theirs for theirs, entry in self.tensors.items() if entry.ours == ("token.weight",))
        shape = tuple(model.token.weight.shape)
        return [
            Target(theirs=copy.removesuffix(WEIGHT), ours=("head.projection",), shapes=(shape,))
            for copy, source in self.family.copies.items()
            if source == original and copy.endswith(WEIGHT)
        ][:1]


def hollow(config: ModelConfig) -> Transformer:
    """A model without numbers."""
    with torch.device("meta"):
        return Transformer(config)


def names_that_fit(config: ModelConfig, modules: Iterable[str]) -> AdapterNames:
    """The names of the first family that holds the config and knows every module; where none does, of the one that knows most.

    One config may be held by several families, whose matrices are cut otherwise.
    """
    modules, model = list(modules), hollow(config)
    best: tuple[int, AdapterNames] | None = None
    for family in FAMILIES:
        if family.misfits(config):
            continue
        names = AdapterNames(family, config, model)
        num_known = sum(names.find(module) is not None for module in modules)
        if num_known == len(modules):
            return names
        if best is None or num_known > best[0]:
            best = num_known, names
    assert best is not None, "the last family holds every config"
    return best[1]


def _shape(module: Projection | Adapter) -> Shape:
    assert isinstance(module, Projection), "a model without adapters"
    return tuple(module.weight.shape)


def _target(entry: Mapped, shapes: tuple[Shape, ...]) -> Target:
    return Target(
        theirs=entry.theirs.removesuffix(WEIGHT),
        ours=tuple(name.removesuffix(WEIGHT) for name in entry.ours),
        shapes=shapes,
        rows=tuple(word for word in entry.layout if word is not TRANSPOSED),
        is_turned=TRANSPOSED in entry.layout,
    )
