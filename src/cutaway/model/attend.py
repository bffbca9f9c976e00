"""Scaled dot-product attention, readable. In: queries, keys, values. Out: the mix of values. Vaswani et al. 2017, eq. 1.

    weights = softmax(mask(cap(q · k × scale) + bias)),  mixed = weights · v

This is the slow twin of every kernel in runtime/, and what runs wherever someone watches scores or weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call, Slot, Spec


def attend(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """Attention by the call's kernel, or by the readable softmax where it is watched or no kernel was given.

    q: [batch, head, query, d_head]; k, v: [batch, kv_head, position, d_head] of this pass -> [batch, head, query, d_head].
    """
    if call.attend is None or call.watches(spec.site + "scores") or call.watches(spec.site + "weights"):
        return readable(spec, q, k, v, call)
    return call.attend(spec, q, k, v, call)


def readable(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """The softmax written out, over the whole store."""
    k, v = append(k, v, call)
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-1, -2) * spec.scale
    if spec.softcap is not None:
        scores = torch.tanh(scores / spec.softcap) * spec.softcap
    frame = call.frame
    assert frame is not None, "Stack.begin makes the frames"
    if frame.bias is not None:
        scores = scores + frame.bias
    scores = scores.masked_fill(~frame.allowed(), torch.finfo(scores.dtype).min)
    scores = call.tap(spec.site + "scores", scores)
    weights = call.tap(spec.site + "weights", torch.softmax(scores, dim=-1))
    return weights @ v


def append(k: Tensor, v: Tensor, call: Call) -> tuple[Tensor, Tensor]:
    """Put this pass's keys and values into the layer's slot; all of them so far come back."""
    slot: Slot = call.store  # type: ignore[assignment]
    return slot.append(k, v)
