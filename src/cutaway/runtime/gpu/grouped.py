"""Attention of one token. In: its query, keys and values that heads share. Out: the mix of values.

The heads of a group stand as rows of one product with the keys that they share, so that keys and values are read once and never
repeated (Ainslie et al. 2023). Slow twin: `model.attend.readable`; more than one query goes to `runtime.attend.fused`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...model.attend import append
from ...model.call import Call, Spec
from ..attend import fused


def grouped(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """q: [batch, head, query, d_head] -> the same shape. The softmax is computed in fp32 at least."""
    if q.shape[2] != 1:
        return fused(spec, q, k, v, call)
    frame = call.frame
    assert frame is not None, "Stack.begin makes the frames"
    k, v = append(k, v, call)
    rows = q.squeeze(2).unflatten(1, (k.shape[1], -1))
    scores = rows @ k.transpose(-1, -2) * spec.scale
    scores = scores if scores.dtype is torch.float64 else scores.float()
    if spec.softcap is not None:
        scores = torch.tanh(scores / spec.softcap) * spec.softcap
    if frame.bias is not None:
        scores = scores + frame.bias.squeeze(2).unflatten(1, (k.shape[1], -1))
    scores = scores.masked_fill(~frame.allowed(), torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).to(v.dtype)
    return (weights @ v).flatten(1, 2).unsqueeze(2)
