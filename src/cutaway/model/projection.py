"""Every matrix of the model. In: x and the call. Out: x · Wᵀ + b. Quantised weights and adapters replace this module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .call import Call


class Projection(nn.Module):
    """A linear map with weight [d_out, d_in]. It takes the call, so that a replacement can read `call.gates`.

    is_quantised: whether `weight` is made anew whenever it is asked for, from codes: writing into it changes nothing.
    """

    is_quantised = False

    def __init__(self, d_in: int, d_out: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (the seam: replacements read call.gates)
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """d_in -> d_out, as printed."""
        d_out, d_in = self.weight.shape
        return f"{d_in} -> {d_out}{'' if self.bias is not None else ', no bias'}"
