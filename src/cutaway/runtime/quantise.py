"""The weights of a model in fewer bits, in place. In: a model and a number of bits. Out: the model, smaller.

    16   bf16: the upper half of every number
     8   whole numbers with a scale for 32 inputs, multiplied by inputs rounded likewise
     4   the same with 16 levels

Every matrix that a token passes is replaced, at the same path: attention, feed-forward, the head. What is looked up (embeddings)
or small (norms, biases, routers of experts) stays in full precision; a head that is tied gets codes of its own, and the embedding
stays as it is. Sites, taps, edits and adapters go on as before; adapters and gradients see the numbers that the codes stand for.
"""

from __future__ import annotations

from torch import nn

from ..errors import CutawayError
from ..model.feedforward import Experts
from ..model.projection import Projection
from .quantised import kernels
from .quantised.packed import packed
from .quantised.projection import HalfProjection, IntegerProjection, QuantisedProjection

FULL = 32
BITS = (FULL, 16, 8, 4)


def check_bits(bits: int) -> None:
    """Raises CutawayError for a number of bits in which weights are not kept."""
    if bits not in BITS:
        raise CutawayError(f"bits is {bits}. Weights are kept in {', '.join(map(str, BITS[:-1]))} or {BITS[-1]} bits.")


def quantise(model: nn.Module, bits: int) -> None:
    """Replace every projection by one with a weight of so many bits, at the same path. 32 changes nothing.

    A module that is reached by two ways stays one. Raises CutawayError for other numbers of bits, for a model that is quantised
    already (a second rounding would add to the first: open it anew), and for weights that are not finite.
    """
    check_bits(bits)
    if bits != FULL:
        rounding = Rounding(model, bits)
        for projection in rounding.left():
            rounding.take(projection)


class Rounding:
    """The projections of a model, each to be rounded at its time: when a model is opened, as soon as its numbers were read."""

    def __init__(self, model: nn.Module, bits: int) -> None:
        """Raises CutawayError for a model that is quantised already."""
        if any(isinstance(module, QuantisedProjection) for module in model.modules()):
            raise CutawayError("The model is quantised already. Open it anew, and ask for other bits there.")
        self.bits = bits
        self._owners: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            for name, child in module.named_children():
                if isinstance(child, Projection) and not (isinstance(module, Experts) and child is module.router):
                    self._owners.setdefault(child, []).append((module, name))

    def left(self) -> list[nn.Module]:
        """What is not rounded yet."""
        return list(self._owners)

    def take(self, module: nn.Module) -> bool:
        """Round it, where it is such a projection, and put the smaller one into its places; the weight in full is then gone.

        Returns whether it was one.
        """
        owners = self._owners.pop(module, [])
        if owners:
            assert isinstance(module, Projection), "only those have owners"
            smaller = rounded_projection(module, self.bits)
            for owner, name in owners:
                setattr(owner, name, smaller)
        return bool(owners)


def rounded_projection(projection: Projection, bits: int) -> QuantisedProjection:
    """The same in 16, 8 or 4 bits: for the native products; where there are none here, for torch's own that is admitted."""
    native = kernels.halves() if bits == 16 else kernels.integers()
    kind = packed(bits) if isinstance(native, str) and projection.weight.is_cpu else None
    if kind is not None:
        return kind(projection)
    return HalfProjection(projection) if bits == 16 else IntegerProjection(projection, bits)
