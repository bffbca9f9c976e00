"""A low-rank change beside a projection (Hu et al. 2021, eq. 3). In: a model and the paths of its matrices. Out: the same model.

    y = W x + b + s · B A x        A: [rank, d_in]   B: [d_out, rank]   s = alpha / rank

s = alpha / sqrt(rank) where it is rank-stabilised (Kalajdzievski 2023). The projection itself stays as it is, inside the
adapter, whatever kind it is of: native ones go under adapters, and `accelerate` reaches those that are there already. An adapter
at masks changes y where the token is a mask, and no bit elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CutawayError
from .call import Call
from .masks import MASKS, close_masks, mask_embedding
from .projection import Projection
from .transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """What is said of an adapter beside its numbers. dropout: the share of A's inputs that training leaves out. is_at_masks:
    whether it acts where the token is a mask, and nowhere else."""

    rank: int
    alpha: float
    dropout: float = 0.0
    is_rank_stabilised: bool = False
    is_at_masks: bool = False

    @property
    def scale(self) -> float:
        """s of the equation."""
        return self.alpha / (math.sqrt(self.rank) if self.is_rank_stabilised else self.rank)


class Adapter(nn.Module):
    """A projection and the change beside it. With B = 0, as made, it computes what the projection computes."""

    def __init__(self, base: Projection, knobs: LowRank) -> None:
        super().__init__()
        d_out, d_in = base.weight.shape
        # Small numbers are added up over many steps: never in half precision.
        dtype = torch.promote_types(base.weight.dtype, torch.float32)
        self.base, self.knobs = base, knobs
        self.down = nn.Parameter(torch.zeros(knobs.rank, d_in, dtype=dtype, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(d_out, knobs.rank, dtype=dtype, device=base.weight.device))

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        plain: Tensor = self.base(x, call)
        return plain + self.beside(x).to(plain.dtype)

    def beside(self, x: Tensor) -> Tensor:
        """s · B A x, in the type of A and B: [batch, position, d_out]."""
        seen = F.dropout(x.to(self.down.dtype), self.knobs.dropout, self.training)
        return F.linear(F.linear(seen, self.down), self.up) * self.knobs.scale

    def change(self) -> Tensor:
        """s · B A, what `merge` adds to the weight: [d_out, d_in]."""
        return self.up @ self.down * self.knobs.scale

    def extra_repr(self) -> str:
        """Rank and scale, as printed."""
        return f"rank {self.knobs.rank}, scale {self.knobs.scale:g}"


class MaskAdapter(Adapter):
    """An adapter at masks. Where the gate is shut, y is what the projection computes, bit for bit, whatever A and B are."""

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        plain: Tensor = self.base(x, call)
        is_mask = call.gates.get(MASKS)
        if is_mask is None:
            return plain
        return torch.where(is_mask.unsqueeze(-1), plain + self.beside(x).to(plain.dtype), plain)


def matrices(model: Transformer) -> dict[str, Projection | Adapter]:
    """Every projection by its path, in the order of the model; where one has an adapter, the adapter."""
    inside = {id(module.base) for module in model.modules() if isinstance(module, Adapter)}
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, (Projection, Adapter)) and id(module) not in inside
    }


def adapters(model: Transformer) -> dict[str, Adapter]:
    """Every adapter by the path of its projection."""
    return {path: module for path, module in matrices(model).items() if isinstance(module, Adapter)}


def put_adapter(model: Transformer, path: str, knobs: LowRank) -> Adapter:
    """Put an adapter, still of zeros, on the projection at a path."""
    base = model.get_submodule(path)
    assert isinstance(base, Projection), "an adapter stands on a projection"
    assert not knobs.is_at_masks or mask_embedding(model) is not None, "open_masks comes first"
    adapter = (MaskAdapter if knobs.is_at_masks else Adapter)(base, knobs).train(model.training)
    _place(model, path, adapter)
    return adapter


def train_adapters_alone(model: Transformer) -> list[nn.Parameter]:
    """Freeze all else. Returns what is trained: A and B of each adapter, in the order of the model, and the mask's vector."""
    model.requires_grad_(False)
    factors = [factor for adapter in adapters(model).values() for factor in (adapter.down, adapter.up)]
    token = mask_embedding(model)
    factors += [] if token is None else [token.row]
    for factor in factors:
        factor.requires_grad_(True)
    return factors


def detach(model: Transformer) -> None:
    """Take every adapter off: the model before, bit for bit. What was frozen stays so, until `requires_grad_` is called."""
    for path, adapter in adapters(model).items():
        _place(model, path, adapter.base)
    close_masks(model)


@torch.no_grad()
def merge(model: Transformer) -> None:
    """Fold every adapter into the weight of its projection, in place: the same model, up to rounding, without adapters.

    A head that was the token embedding itself gets a weight of its own, and the config says so: the embedding has no adapter.
    Raises CutawayError for adapters at masks, or on quantised projections, and leaves the model as it was.
    """
    if mask_embedding(model) is not None:
        raise CutawayError(
            "The adapters act at masks alone, and a weight acts at every token: they cannot be merged. Keep them beside the "
            "base, or detach them."
        )
    if any(adapter.base.is_quantised for adapter in adapters(model).values()):
        raise CutawayError(
            "The projections under the adapters are quantised, and codes take no change. Open the model in full precision, merge "
            "the adapters there, and quantise what comes out."
        )
    for path, adapter in adapters(model).items():
        base = adapter.base
        if base.weight is model.token.weight:
            base.weight = nn.Parameter(base.weight.clone(), requires_grad=base.weight.requires_grad)
            model.config = replace(model.config, is_tied=False)
        base.weight.copy_(base.weight.to(adapter.down.dtype) + adapter.change())
        _place(model, path, base)


def _place(model: Transformer, path: str, module: nn.Module) -> None:
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, module)
