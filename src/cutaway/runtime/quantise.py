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
    if bits == FULL:
        return
    if any(isinstance(module, QuantisedProjection) for module in model.modules()):
        raise CutawayError("The model is quantised already. Open it anew, and ask for other bits there.")
    made: dict[int, QuantisedProjection] = {}
    for module in list(model.modules()):
        routers = {"router"} if isinstance(module, Experts) else set()
        for name, child in list(module.named_children()):
            if isinstance(child, Projection) and name not in routers:
                if id(child) not in made:
                    made[id(child)] = _smaller(child, bits)
                setattr(module, name, made[id(child)])


def _smaller(projection: Projection, bits: int) -> QuantisedProjection:
    return HalfProjection(projection) if bits == 16 else IntegerProjection(projection, bits)
