"""Attention kernels. In: queries, keys, values and the frame's flag or mask. Out: the mix of values.

`fused` is torch's scaled-dot-product attention, or the native one where many queries see all that came before them: no T × T
matrix is kept. Slow twin: `model.attend.readable`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.attend import append, readable
from ..model.call import Call, Frame, Spec
from ..model.transformer import make_frame
from . import ops, rows
from .stores import PackedSlot

MANY = 256  # queries: from here on the native kernel is sooner than torch's, 1.3 to 1.7 times at 512
MANY_BEHIND = 64  # the same behind other tokens, where torch's needs a mask


def fused(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """One fused kernel. q: [batch, head, query, d_head] -> the same shape. A soft cap needs the readable softmax."""
    if spec.softcap is not None:
        return readable(spec, q, k, v, call)
    frame = call.frame
    assert frame is not None, "Stack.begin makes the frames"
    if isinstance(call.store, PackedSlot) and frame.flag == "packed":
        return packed(spec, q, k, v, call.store, frame)
    k, v = append(k, v, call)
    return one(spec, q, k, v, frame)


def packed(spec: Spec, q: Tensor, k: Tensor, v: Tensor, slot: PackedSlot, frame: Frame) -> Tensor:
    """Each session's queries over its own keys, so that a session's numbers do not depend on its neighbours."""
    mixed = []
    parts = slot.split(q, k, v)
    for index, (q_part, k_part, v_part) in enumerate(zip(*parts, strict=True)):
        keys, values = slot.slots[index].append(k_part, v_part)
        own = make_frame(slot.pieces[index], slot.keys[index], frame.window, frame.sinks)
        mixed.append(one(spec, q_part, keys, values, own))
    return torch.cat(mixed, dim=2)


def one(spec: Spec, q: Tensor, k: Tensor, v: Tensor, frame: Frame) -> Tensor:
    """The kernel itself, over keys and values that are complete."""
    is_plain = frame.bias is None and (frame.is_causal or frame.flag == "full")
    many = MANY if frame.flag else MANY_BEHIND
    if is_plain and q.shape[2] >= many and rows.serves(q, k) and rows.serves(q, v):
        return ops.attention(q, k, v, spec.scale, frame.is_causal)[0]
    mask = None if frame.flag in ("causal", "full") else frame.allowed()
    if frame.bias is not None:
        mask = frame.bias.masked_fill(~frame.allowed(), torch.finfo(q.dtype).min).to(q.dtype)
    is_grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=frame.flag == "causal", scale=spec.scale, enable_gqa=is_grouped
    )
