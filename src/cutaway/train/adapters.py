"""Low-rank adapters for training (Hu et al. 2021). In: a model, names of its projections. Out: few parameters, which alone train.

A begins as PEFT's: uniform within 1/sqrt(d_in); B begins with zeros, so that training starts from the model as it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import CutawayError, near
from ..model import Transformer
from ..model.adapter import (
    Adapter,
    LowRank,
    adapters,
    detach,
    matrices,
    merge,
    put_adapter,
    train_adapters_alone,
)
from ..model.masks import Masks, open_masks
from ..model.projection import Projection

Place = Literal["everywhere", "masks"]

__all__ = ["AdapterConfig", "attach", "detach", "merge", "projection_names"]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which projections get an adapter, and of what size.

    targets: names with `*`, as `*.attention.query`; `query` alone means every projection whose name ends so. rank, alpha: the
    change is alpha / rank · B A, or alpha / sqrt(rank) · B A where `is_rank_stabilised`. dropout: the share of inputs of A that
    training leaves out. at: masks: it acts where the token is a mask, and changes no bit of what the base says elsewhere.
    """

    targets: tuple[str, ...]
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    is_rank_stabilised: bool = False
    at: Place = "everywhere"

    def __post_init__(self) -> None:
        """Raises CutawayError for a value that no adapter can have."""
        checks = (
            ("targets", self.targets, bool(self.targets), "names of projections, such as '*.attention.query'"),
            ("rank", self.rank, self.rank >= 1, "a whole number from 1"),
            ("alpha", self.alpha, 0 < self.alpha < math.inf, "a number above 0"),
            ("dropout", self.dropout, 0 <= self.dropout < 1, "a number from 0 to below 1"),
            ("at", self.at, self.at in get_args(Place), " or ".join(get_args(Place))),
        )
        for key, value, is_allowed, allowed in checks:
            if not is_allowed:
                raise CutawayError(f"'adapter.{key}' is {value!r}. It takes {allowed}.")

    @property
    def knobs(self) -> LowRank:
        """What each adapter is told."""
        return LowRank(
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            is_rank_stabilised=self.is_rank_stabilised,
            is_at_masks=self.at == "masks",
        )


def attach(
    model: Transformer, config: AdapterConfig, seed: int, *, masks: Masks | None = None, mask: Tensor | None = None
) -> list[nn.Parameter]:
    """Put an adapter on every projection that a target names, and freeze all else. Returns what is trained.

    Dropout acts while the model is in training mode. seed: of the first A. masks: of adapters at masks, what the model predicts
    with them; mask: where the mask's vector begins, [d_model] (None: the mean of all). Raises CutawayError, and leaves the model
    as it was, for a target that names nothing, a rank larger than a matrix has, a model that has adapters already, and adapters
    at masks without masks or outside of layers.
    """
    if adapters(model):
        raise CutawayError("The model has adapters already. Merge or detach them before others are attached.")
    chosen = _chosen(matrices(model), config.targets)
    for name, module in chosen.items():
        _check_rank(name, module, config.rank)
    if config.at == "masks":
        _open(model, chosen, masks, mask)
    generator = torch.Generator().manual_seed(seed)
    for path in chosen:
        down = put_adapter(model, path, config.knobs).down
        bound = down.shape[1] ** -0.5
        down.data.copy_(torch.empty(down.shape).uniform_(-bound, bound, generator=generator))
    return train_adapters_alone(model)


def _open(model: Transformer, chosen: Iterable[str], masks: Masks | None, mask: Tensor | None) -> None:
    if masks is None:
        raise CutawayError("'adapter.at' is 'masks'. Say which token is the mask, and how many are drafted: masks=….")
    if outside := [_name(path) for path in chosen if ".layers." not in path]:
        raise CutawayError(
            f"'adapter.at' is 'masks', and a target names {', '.join(outside)}. What acts at masks stands on projections of "
            "layers: name those."
        )
    begin = model.token.weight.detach().float().mean(0) if mask is None else mask
    open_masks(model, masks).row.data.copy_(begin)


def projection_names(model: Transformer) -> list[str]:
    """The name of every projection, as targets speak of them: `decoder.layers.0.attention.query`."""
    return [_name(path) for path in matrices(model)]


def _name(path: str) -> str:
    """A path without the module that only adds the residual connection."""
    return path.replace(".sublayer.", ".")


def _chosen(modules: dict[str, Projection | Adapter], targets: Sequence[str]) -> dict[str, Projection | Adapter]:
    named: set[str] = set()
    for target in targets:
        found = {path for path in modules if any(fnmatchcase(_name(path), form) for form in (target, f"*.{target}"))}
        if not found:
            kinds = {re.sub(r"^.*\.layers\.\d+\.", "*.", _name(path)) for path in modules}
            kinds = {re.sub(r"\.\d+\.", ".*.", kind) for kind in kinds}
            raise CutawayError(f"The target '{target}' names no projection of this model.{near(target, kinds)}")
        named |= found
    return {path: module for path, module in modules.items() if path in named}


def _check_rank(path: str, module: Projection | Adapter, rank: int) -> None:
    assert isinstance(module, Projection), "a model without adapters"
    d_out, d_in = module.weight.shape
    if rank > min(d_out, d_in):
        raise CutawayError(
            f"'adapter.rank' is {rank}, and {_name(path)} is a matrix of {d_out} × {d_in}: its rank is at most "
            f"{min(d_out, d_in)}. Take a smaller rank, or leave it out of the targets."
        )
