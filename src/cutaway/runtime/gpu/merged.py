"""Projections of one input as one matrix. In: a model. Out: the same model, whose queries, keys and values are one product.

    (q, k, v) = x · [Wq; Wk; Wv]ᵀ        (pre, linear) = x · [W₁; W₃]ᵀ, of a gated feed-forward layer

One large product keeps a GPU busier than several small ones. The layers stay as they are written: the first of the projections
computes all, the others hand out their part. Weights are views of the joint one, under the same names. Slow twin: `Projection`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.attention import Attention
from ...model.call import Call
from ...model.feedforward import GatedFeedForward
from ...model.projection import Projection
from ..kernels import NativeProjection

PLAIN = (Projection, NativeProjection)


def merge_projections(model: nn.Module) -> int:
    """Merge in place, wherever all projections of a layer are plain; returns how many products are made in place of several.

    To be called when the weights are where they stay: moving the model afterwards would take the views apart.
    """
    found = 0
    for module in list(model.modules()):
        names = {Attention: ("query", "key", "value"), GatedFeedForward: ("input", "linear")}.get(type(module), ())
        children = [module.get_submodule(name) for name in names]
        if children and all(type(child) in PLAIN for child in children):
            parts = merged([child for child in children if isinstance(child, Projection)])
            for name, part in zip(names, parts, strict=True):
                setattr(module, name, part)
            found += 1
    return found


def merged(projections: Sequence[Projection]) -> list[Part]:
    """Projections of the same input, in the order in which they are called -> those that share a product."""
    weight = torch.cat([each.weight.detach() for each in projections])
    biases = [each.bias for each in projections if each.bias is not None]
    assert len(biases) in (0, len(projections)), "one knob says whether they have biases"
    bias = torch.cat([each.detach() for each in biases]) if biases else None
    joint = Joint(weight, bias, [each.weight.shape[0] for each in projections])
    return [Part(joint, index, each) for index, each in enumerate(projections)]


class Joint:
    """One matrix for several projections, and what it made of the last input."""

    def __init__(self, weight: Tensor, bias: Tensor | None, sizes: Sequence[int]) -> None:
        self.weight, self.bias, self.sizes = weight, bias, list(sizes)
        self.x: Tensor | None = None
        self.made: tuple[Tensor, ...] = ()


class Part(Projection):
    """One of the projections. The first one computes for all; one that is asked by itself computes for itself."""

    def __init__(self, joint: Joint, index: int, original: Projection) -> None:
        nn.Module.__init__(self)
        self.joint, self.index = joint, index
        start = sum(joint.sizes[:index])
        own = slice(start, start + joint.sizes[index])
        self.weight = nn.Parameter(joint.weight[own], requires_grad=original.weight.requires_grad)
        self.bias = None
        if joint.bias is not None:
            self.bias = nn.Parameter(joint.bias[own], requires_grad=original.weight.requires_grad)

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (the seam)
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        joint = self.joint
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return F.linear(x, self.weight, self.bias)
        if self.index == 0:
            joint.x, joint.made = x, F.linear(x, joint.weight, joint.bias).split(joint.sizes, dim=-1)
        if joint.x is not x:
            return F.linear(x, self.weight, self.bias)
        found = joint.made[self.index]
        if self.index == len(joint.sizes) - 1:
            joint.x, joint.made = None, ()
        return found
