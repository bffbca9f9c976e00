"""Attention heads. In: the residual stream. Out: for each token, a mix of the values of the tokens that it may see.

Self-attention takes keys and values from the same stream and puts them into the store; cross-attention takes them from the
memory (an encoder's output), where they may have been filled beforehand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import AttentionConfig, PositionConfig, StackConfig
from .attend import attend
from .call import Call, MemorySlot, Spec
from .norm import make_norm
from .position import rotate
from .projection import Projection


class Attention(nn.Module):
    """Self-attention: queries, keys and values are three projections of the same vectors."""

    site = "attention."

    def __init__(self, stack: StackConfig, position: PositionConfig) -> None:
        super().__init__()
        knobs, d_head = stack.attention, stack.d_head
        d_query, d_key = knobs.num_heads * d_head, knobs.kv_heads * d_head
        self.d_head = d_head
        self.is_interleaved, self.rotate = position.interleaved, rotate
        self.spec = Spec(self.site, d_head**-0.5 if knobs.scale is None else knobs.scale, knobs.softcap)
        self.query = Projection(stack.d_model, d_query, bias=knobs.bias)
        self.key = Projection(stack.d_model, d_key, bias=knobs.bias)
        self.value = Projection(stack.d_model, d_key, bias=knobs.bias)
        self.query_norm = _norm(knobs, d_query, d_head, stack)
        self.key_norm = _norm(knobs, d_key, d_head, stack)
        self.output = Projection(d_query, stack.d_model, bias=knobs.output_bias)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> [batch, position, d_model]."""
        q = self.turn(self.heads(self.query_norm(self.query(x, call))), call)
        k = self.turn(self.heads(self.key_norm(self.key(x, call))), call)
        v = self.heads(self.value(x, call))
        q, k, v = call.tap("attention.query", q), call.tap("attention.key", k), call.tap("attention.value", v)
        mixed = call.tap("attention.mixed", attend(self.spec, q, k, v, call))
        return self.output(mixed.transpose(1, 2).flatten(2), call)

    def heads(self, x: Tensor) -> Tensor:
        """[batch, position, head × d_head] -> [batch, head, position, d_head]."""
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def turn(self, x: Tensor, call: Call) -> Tensor:
        """Rotary positions, where this layer type has them. x: [batch, head, position, d_head]."""
        frame = call.frame
        assert frame is not None, "Stack.begin makes the frames"
        if frame.cos is None or frame.sin is None:
            return x
        return self.rotate(x, frame.cos, frame.sin, is_interleaved=self.is_interleaved)


class CrossAttention(Attention):
    """Attention whose keys and values come from the memory; it has no positions of its own."""

    site = "cross."

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> [batch, position, d_model]."""
        q = call.tap("cross.query", self.heads(self.query_norm(self.query(x, call))))
        k, v = self.remembered(call)
        k, v = call.tap("cross.key", k), call.tap("cross.value", v)
        mixed = call.tap("cross.mixed", attend(self.spec, q, k, v, call.across()))
        return self.output(mixed.transpose(1, 2).flatten(2), call)

    def remembered(self, call: Call) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory: as filled when the session opened, or computed now."""
        assert isinstance(call.memory, MemorySlot), "cross-attention needs a memory; open the session with source ids"
        if call.memory.k is not None and call.memory.v is not None:
            return call.memory.k, call.memory.v
        return self.fill(call.memory.states, call)

    def fill(self, states: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """states: [batch, source, d_model] -> k, v: [batch, kv_head, source, d_head]."""
        return self.heads(self.key_norm(self.key(states, call))), self.heads(self.value(states, call))


class HeadNorm(nn.Module):
    """A norm of each head by itself."""

    def __init__(self, d_head: int, norm: nn.Module) -> None:
        super().__init__()
        self.d_head = d_head
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, position, head × d_head] -> the same shape."""
        normed: Tensor = self.norm(x.unflatten(-1, (-1, self.d_head)))
        return torch.flatten(normed, -2)


def _norm(knobs: AttentionConfig, width: int, d_head: int, stack: StackConfig) -> nn.Module:
    if knobs.query_key_norm == "head":
        return HeadNorm(d_head, make_norm(d_head, stack.norm))
    return make_norm(width, stack.norm) if knobs.query_key_norm == "full" else nn.Identity()
