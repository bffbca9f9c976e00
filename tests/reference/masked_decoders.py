"""LLaDA (Nie et al. 2025) and Dream (Ye et al. 2025) written out: a slow twin of what their checkpoints mean, from the papers.

In: a state dict with the makers' names. Out: logits. No masks of attention: every token sees every token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LLADA = {
    "embedding": "model.transformer.wte.weight",
    "norm": "model.transformer.ln_f.weight",
    "head": "model.transformer.ff_out.weight",
    "block": "model.transformer.blocks.{}.",
    "first_norm": "attn_norm",
    "second_norm": "ff_norm",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "attn_out",
    "gate": "ff_proj",
    "up": "up_proj",
    "down": "ff_out",
}
DREAM = {
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
    "block": "model.layers.{}.",
    "first_norm": "input_layernorm",
    "second_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Sizes:
    num_layers: int
    num_heads: int
    num_kv_heads: int
    eps: float
    base: float


def logits(weights: Mapping[str, Tensor], names: Mapping[str, str], sizes: Sizes, ids: Tensor) -> Tensor:
    """ids: [batch, position] -> logits [batch, position, vocab]."""
    x = weights[names["embedding"]][ids]
    for layer in range(sizes.num_layers):
        block = names["block"].format(layer)

        def project(part: str, y: Tensor, block: str = block) -> Tensor:
            out = y @ weights[f"{block}{names[part]}.weight"].T
            bias = weights.get(f"{block}{names[part]}.bias")
            return out if bias is None else out + bias

        y = rms(x, weights[f"{block}{names['first_norm']}.weight"], sizes.eps)
        x = x + project("o", attention(project("q", y), project("k", y), project("v", y), sizes))
        y = rms(x, weights[f"{block}{names['second_norm']}.weight"], sizes.eps)
        gate = project("gate", y)
        x = x + project("down", gate * torch.sigmoid(gate) * project("up", y))
    return rms(x, weights[names["norm"]], sizes.eps) @ weights[names["head"]].T


def attention(q: Tensor, k: Tensor, v: Tensor, sizes: Sizes) -> Tensor:
    """Every head by itself; heads of queries share those of keys in order."""
    width = q.shape[-1] // sizes.num_heads
    group = sizes.num_heads // sizes.num_kv_heads
    mixed = []
    for head in range(sizes.num_heads):
        mine, shared = (slice(index * width, (index + 1) * width) for index in (head, head // group))
        one, other = turn(q[..., mine], sizes.base), turn(k[..., shared], sizes.base)
        mixed.append(torch.softmax(one @ other.transpose(1, 2) / math.sqrt(width), -1) @ v[..., shared])
    return torch.cat(mixed, dim=-1)


def turn(x: Tensor, base: float) -> Tensor:
    """Number i and number i + half of a head, as a point, turned by position · base^(−2i / width)."""
    half = x.shape[-1] // 2
    turned = torch.empty_like(x)
    for position in range(x.shape[1]):
        for i in range(half):
            angle = position * base ** (-2 * i / x.shape[-1])
            a, b = x[:, position, i], x[:, position, i + half]
            turned[:, position, i] = a * math.cos(angle) - b * math.sin(angle)
            turned[:, position, i + half] = b * math.cos(angle) + a * math.sin(angle)
    return turned


def rms(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * scale
