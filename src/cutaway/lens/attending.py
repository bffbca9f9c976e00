"""Attention weights of some rows of a traced layer. In: its queries and keys. Out: the weights of these queries alone.

So that no [query, key] matrix of a whole text is made where a few rows are asked for: the readable softmax runs again, on the
same queries and keys, with the layer's own scale, cap, bias, window and mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import Call, Transformer
from ..model import visibility as visible
from ..model.attend import readable
from ..model.attention import Attention
from ..model.transformer import make_cross_frame
from ..model.visibility import Tokens
from .trace import Trace


class _Weights:
    """A watcher that keeps the weights and nothing else."""

    def __init__(self) -> None:
        self.found = torch.empty(0)

    def wants(self, site: str) -> bool:
        return site.endswith(".weights")

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        if site.endswith(".weights"):
            self.found = tensor
        return tensor


def seen_by(model: Transformer, length: int, *, of_encoder: bool = False) -> Tokens:
    """Who sees whom in a text by itself, as `LM` runs it: causal unless the stack was trained to see ahead."""
    sees_ahead = of_encoder or model.config.sees_ahead
    return visible.full(length) if sees_ahead else visible.causal(length)


@torch.no_grad()
def weights_of(
    model: Transformer, trace: Trace, prefix: str, attention: Attention, layer: int, rows: Tensor, row: int = 0
) -> Tensor:
    """The weights of the queries `rows` of one layer: [head, query, key], taken from the trace or computed again.

    prefix: of the stack's sites. attention: the layer's module, cross-attention too. row: of the batch.
    """
    base = f"{prefix}layers.{layer}.{attention.spec.site}"
    if f"{base}weights" in trace:
        return trace[f"{base}weights"][row][:, rows.to(trace[f"{base}weights"].device)]
    q, k = trace[f"{base}query"][row : row + 1], trace[f"{base}key"][row : row + 1]
    rows = rows.to(q.device)
    is_cross, of_encoder = attention.spec.site == "cross.", prefix == "encoder."
    stack = model.encoder if of_encoder else model.main
    assert stack is not None, "the trace has its sites"
    keys = seen_by(model, k.shape[2], of_encoder=of_encoder or is_cross).to(q.device)
    whole = seen_by(model, q.shape[2], of_encoder=of_encoder)
    queries = Tokens(whole.fields.to(q.device)[:, :, rows], whole.flag if whole.flag == "full" else None)
    frame = make_cross_frame(queries, keys) if is_cross else stack.frame(stack.config.kind(layer), queries, keys)
    watch = _Weights()
    readable(attention.spec, q[:, :, rows], k, k[..., :0], Call(queries, frame=frame, watch=watch))
    return watch.found[0]
