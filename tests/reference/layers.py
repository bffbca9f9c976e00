"""One layer written out literally, in loops over heads and queries. Slow twin of `cutaway.model.block` and what it holds.

Placements: post (Vaswani et al. 2017 §3.1), pre (Radford et al. 2019), sandwich (Ding et al. 2021), inner (norm on the
sublayer's output alone), parallel (Wang & Komatsuzaki 2021). Weights come as the model's state dict, by name.
"""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def norm(x: Tensor, weights: Weights, name: str, eps: float = 1e-5) -> Tensor:
    """Ba et al. 2016, eq. 4. x: [position, d_model]."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps) ** 0.5 * weights[name + ".weight"] + weights[name + ".bias"]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """x · Wᵀ + b."""
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def attention(x: Tensor, weights: Weights, name: str, num_heads: int, num_kv_heads: int) -> Tensor:
    """Causal attention, Vaswani et al. 2017 §3.2, with grouped heads. x: [position, d_model] -> the same shape."""
    q, k, v = (linear(x, weights, f"{name}.{part}") for part in ("query", "key", "value"))
    d_head = q.shape[1] // num_heads
    rows = []
    for query in range(len(x)):
        heads = []
        for head in range(num_heads):
            own = slice(head * d_head, (head + 1) * d_head)
            group = head // (num_heads // num_kv_heads)
            shared = slice(group * d_head, (group + 1) * d_head)
            scores = k[: query + 1, shared] @ q[query, own] / d_head**0.5
            chances = scores.exp() / scores.exp().sum()
            heads.append(chances @ v[: query + 1, shared])
        rows.append(torch.cat(heads))
    return linear(torch.stack(rows), weights, f"{name}.output")


def gelu_tanh(x: Tensor) -> Tensor:
    """Hendrycks & Gimpel 2016, the approximation by tanh."""
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def feedforward(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Vaswani et al. 2017, eq. 2, with GELU."""
    return linear(gelu_tanh(linear(x, weights, f"{name}.input")), weights, f"{name}.output")


def block(x: Tensor, weights: Weights, placement: str, num_heads: int, num_kv_heads: int) -> Tensor:
    """One whole layer. x: [position, d_model]; weights: the layer's own, `attention.…` and `feedforward.…`."""
    inner = "" if placement == "parallel" else ".sublayer"

    def attend(y: Tensor) -> Tensor:
        return attention(y, weights, "attention" + inner, num_heads, num_kv_heads)

    def feed(y: Tensor) -> Tensor:
        return feedforward(y, weights, "feedforward" + inner)

    def normed(y: Tensor, name: str) -> Tensor:
        return norm(y, weights, name)

    if placement == "pre":
        x = x + attend(normed(x, "attention.before"))
        return x + feed(normed(x, "feedforward.before"))
    if placement == "post":
        x = normed(x + attend(x), "attention.norm")
        return normed(x + feed(x), "feedforward.norm")
    if placement == "sandwich":
        x = x + normed(attend(normed(x, "attention.before")), "attention.after")
        return x + normed(feed(normed(x, "feedforward.before")), "feedforward.after")
    if placement == "inner":
        x = x + normed(attend(x), "attention.after")
        return x + normed(feed(x), "feedforward.after")
    assert placement == "parallel", f"no twin for {placement}"
    return x + attend(normed(x, "attention_norm")) + feed(normed(x, "feedforward_norm"))
