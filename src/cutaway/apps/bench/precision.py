"""A model in fewer bits, and what a number of it then takes. In: a model, bits. Out: the same model changed, and `Precision`.

Bytes are counted, not assumed: scales of groups, and what stays wider (norms, an embedding that is looked up), count as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import CutawayError
from ...model import Call, Transformer
from ...model.projection import Projection
from ...model.visibility import full
from ...runtime.kernels import accelerate
from ...runtime.quantise import quantise
from ...runtime.quantised.projection import QuantisedProjection
from ...runtime.roofline import SECONDS, fastest

BITS = (32, 16, 8, 4)
SQUARE = 1024  # rows and columns of the product that shows how fast arithmetic is


@dataclass(frozen=True, kw_only=True)
class Precision:
    """bits: of a weight, by name. size: bytes of a weight that a pass reads, scales included, the mean. held: bytes in memory."""

    bits: int
    size: float
    held: float


def in_bits(model: Transformer, bits: int) -> Precision:
    """Change a model in place, and say what its numbers take; a model of 32 bits stays as it is."""
    check_bits(bits)
    read = [model.main.layers, *([] if model.head is None else [model.head])]
    count = sum(tensor.numel() for tensor in tensors_of(read))
    if bits < 32:
        quantise(model, bits)
    return Precision(bits=bits, size=num_bytes(read) / count, held=num_bytes([model]))


def check_bits(bits: int) -> None:
    """Raises CutawayError for bits that no weight has here."""
    if bits not in BITS:
        raise CutawayError(f"--bits is {bits}. Allowed: {', '.join(map(str, BITS))}.")


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Every tensor of some modules, one that is shared once."""
    found = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return list({tensor.data_ptr(): tensor for tensor in found if tensor.numel()}.values())


def num_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of every tensor of some modules, and of what projections keep besides."""
    modules = list(modules)
    parts = {part for module in modules for part in module.modules() if isinstance(part, QuantisedProjection)}
    return sum(tensor.nbytes for tensor in tensors_of(modules)) + sum(part.hidden_bytes for part in parts)


def peak_of_products(bits: int, *, seconds: float = SECONDS, size: int = SQUARE) -> float:
    """Operations a second of the product that a model in these bits makes, of a square matrix and as many rows."""
    square = Projection(size, size, bias=False).requires_grad_(False)
    square.weight.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    holder = nn.ModuleDict({"square": square})
    accelerate(holder)
    quantise(holder, bits)
    replaced, x, call = holder["square"], torch.ones(1, size, size), Call(full(size))
    with torch.inference_mode():
        return 2 * size**3 / fastest(lambda: replaced(x, call), seconds=seconds)
