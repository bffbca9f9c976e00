"""Attention of a traced layer, a few rows at a time. In: its queries and keys. Out: the scores and weights of some queries.

    weights = softmax(mask(cap(q · k × scale) + bias))    (model/attend.py, whose numbers these are)

So that no [query, key] matrix of a whole text is made where a few rows are asked for, and long texts can be swept in blocks. Mask
and bias of the rows come from the model's own modules, asked for these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer, layouts
from ..model import visibility as visible
from ..model.attention import Attention, CrossAttention
from ..model.call import Spec
from ..model.transformer import Stack, make_cross_frame, slot
from ..model.visibility import Tokens
from .trace import Trace

HIDDEN = torch.finfo(torch.float32).min
"""The score of a key that is not seen, in float32."""
Block = Literal["attention", "cross"]
EVERY = slice(None)


@dataclass(frozen=True, kw_only=True)
class Attending:
    """The heads of one layer. q: [head, query, d_head]; k, v: [kv_head, key, d_head].

    queries, keys: who sees whom, of the whole text. scores_seen, weights_seen: [head, query, key] as recorded, if they were.
    """

    spec: Spec
    stack: Stack
    layer: int
    queries: Tokens
    keys: Tokens
    q: Tensor
    k: Tensor
    v: Tensor
    scores_seen: Tensor | None = None
    weights_seen: Tensor | None = None

    @property
    def is_cross(self) -> bool:
        """Whether the keys are those of a source."""
        return self.spec.site == "cross."

    @property
    def has_bias(self) -> bool:
        """Whether a bias for the distance is added to the scores."""
        return not self.is_cross and slot(self._kind) in self.stack.bias

    def kv_head(self, head: int) -> int:
        """The head whose keys and values a head uses."""
        return head * len(self.k) // len(self.q)

    def unmasked(self, rows: Tensor, heads: slice = EVERY) -> tuple[Tensor, Tensor]:
        """Scores before the mask, and whether each key is seen: [head, query, key], [1, query, key] of bool.

        rows: increasing indices of queries. The keys end behind the last one that any of them sees, where order alone decides.
        """
        num_keys = int(rows[-1]) + 1 if self._is_causal else self.k.shape[1]
        k = self.k[:, :num_keys].repeat_interleave(len(self.q) // len(self.k), dim=0)[heads]
        scores = (self.q[heads, rows] @ k.transpose(-1, -2)).mul_(self.spec.scale)
        if self.spec.softcap is not None:
            scores = torch.tanh(scores / self.spec.softcap) * self.spec.softcap
        bias, allowed = self._frame(rows, num_keys)
        return scores if bias is None else scores + bias[heads], allowed

    def scores(self, rows: Tensor, heads: slice = EVERY) -> Tensor:
        """As they enter the softmax: [head, query, key], the smallest number of their type where a key is not seen."""
        if self.scores_seen is not None:
            return self.scores_seen[heads, rows]
        scores, allowed = self.unmasked(rows, heads)
        begin = int(rows[0]) if self._is_plain else 0  # nothing before the first row is hidden there
        scores[..., begin:].masked_fill_(~allowed[..., begin:], torch.finfo(scores.dtype).min)
        return scores

    def weights(self, rows: Tensor, heads: slice = EVERY) -> Tensor:
        """[head, query, key]; the keys may end as in `unmasked`, all that follow having the weight 0."""
        if self.weights_seen is not None:
            return self.weights_seen[heads, rows]
        return torch.softmax(self.scores(rows, heads), dim=-1)

    def num_seen(self, rows: Tensor) -> Tensor:
        """How many keys each query sees: [query]."""
        num_keys = int(rows[-1]) + 1 if self._is_causal else self.k.shape[1]
        return self._frame(rows, num_keys)[1][0].expand(len(rows), num_keys).sum(-1)

    def _frame(self, rows: Tensor, num_keys: int) -> tuple[Tensor | None, Tensor]:
        """The bias, [head, query, key] or None, and whether each key is seen, [1, query, key]."""
        if self._is_plain:
            return None, (torch.arange(num_keys, device=rows.device) <= rows[:, None]).unsqueeze(0)
        queries = Tokens(self.queries.fields[:, :, rows])
        keys = Tokens(self.keys.fields[:, :, :num_keys])
        across = self.is_cross
        frame = make_cross_frame(queries, keys) if across else self.stack.frame(self._kind, queries, keys)
        return None if frame.bias is None else frame.bias[0], frame.allowed()[0]

    @property
    def _kind(self) -> str:
        return self.stack.config.kind(self.layer)

    @property
    def _is_plain(self) -> bool:
        """Whether order alone decides who sees whom, and nothing is added to the scores."""
        window = self.stack.config.layer_types[self._kind].window
        return self._is_causal and window is None and not self.has_bias

    @property
    def _is_causal(self) -> bool:
        return not self.is_cross and self.queries.flag == "causal"


def attending(
    model: Transformer, trace: Trace, prefix: str, layer: int, block: Block = "attention", row: int = 0
) -> Attending:
    """The heads of a layer in a trace with its queries and keys, of a pass in which each text stands by itself.

    prefix: of the stack's sites. row: of the batch. Raises CutawayError for cross-attention where there is none.
    """
    of_encoder, is_cross = prefix == "encoder.", block == "cross"
    stack = model.encoder if of_encoder else model.main
    assert stack is not None, "the trace has its sites"
    base = f"{prefix}layers.{layer}.{block}."
    if is_cross and base + "key" not in trace:
        raise CutawayError("This stack has no cross-attention: it looks at no other stack. Look at its attention.")
    q, k, v = (trace[base + name][row] for name in ("query", "key", "value" if base + "value" in trace else "key"))
    queries = seen_by(model, q.shape[1], of_encoder=of_encoder).to(q.device)
    keys = seen_by(model, k.shape[1], of_encoder=True).to(q.device) if is_cross else queries
    scores, weights = (trace[base + name][row] if base + name in trace else None for name in ("scores", "weights"))
    return Attending(
        spec=module_of(stack, layer, block).spec,
        stack=stack,
        layer=layer,
        queries=queries,
        keys=keys,
        q=q,
        k=k,
        v=v,
        scores_seen=scores,
        weights_seen=weights,
    )


def module_of(stack: Stack, layer: int, block: Block) -> Attention:
    """The module of a layer's attention or cross-attention; layers shared across depth share theirs."""
    kind = CrossAttention if block == "cross" else Attention
    inside = stack.layers[layer % stack.config.num_distinct].modules()
    return next(each for each in inside if type(each) is kind)


def seen_by(model: Transformer, length: int, *, of_encoder: bool = False) -> Tokens:
    """Who sees whom in a text by itself, as `LM` runs it: as the stack was trained to."""
    return visible.full(length) if of_encoder else layouts.text(model.config, length)


@torch.no_grad()
def weights_of(
    model: Transformer, trace: Trace, prefix: str, attention: Attention, layer: int, rows: Tensor, row: int = 0
) -> Tensor:
    """The weights of the queries `rows` (increasing) of one layer: [head, query, key], from the trace or computed again.

    The keys may end behind the last one that a query sees, all that follow having the weight 0.
    prefix: of the stack's sites. attention: the layer's module, cross-attention too. row: of the batch.
    """
    found = attending(model, trace, prefix, layer, "cross" if attention.spec.site == "cross." else "attention", row)
    return found.weights(rows.to(found.q.device))
