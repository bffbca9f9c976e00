"""Vectors of texts. In: a model and texts. Out: one vector for each, so that near vectors mean alike.

The states of a text's tokens become one vector: their mean, the first token's, or what the model's pooler makes of it (Reimers &
Gurevych 2019 §3). Vectors of length 1 have their cosine for product. Of an encoder-decoder, the encoder reads the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError, near
from ..lm import LM
from ..model import Call, Tokens, layouts
from ..model.visibility import padded
from ..runtime.attend import fused

Pooling = Literal["mean", "first", "pooler"]


@torch.inference_mode()
def embed(
    lm: LM,
    texts: Sequence[str | Sequence[int]],
    *,
    pooling: Pooling = "mean",
    is_normalised: bool = True,
    batch_size: int = 32,
) -> Tensor:
    """One vector for each text: [batch, d_model], in the order of the texts.

    texts: texts, or ids with whatever the model wants around them; a text gets what its tokenizer puts around every text, or,
    if that is nothing and the model has an encoder, cls and sep (eos without sep). pooling: how states become a vector.
    is_normalised: to length 1. batch_size: texts in one pass. Raises CutawayError for no texts, an empty or too long one, and a
    pooler that the model does not have.
    """
    if isinstance(texts, str) or not texts:
        raise CutawayError(f"embed takes a list of one or more texts, got {texts!r:.60}. Give [text].")
    if pooling not in get_args(Pooling):
        raise CutawayError(
            f"pooling is '{pooling}'. Allowed: {', '.join(get_args(Pooling))}.{near(pooling, get_args(Pooling))}"
        )
    rows = [_ids(lm, text) for text in texts]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))  # like lengths together: little padding
    vectors: list[Tensor | None] = [None] * len(rows)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for index, vector in zip(batch, _embedded(lm, [rows[index] for index in batch], pooling), strict=True):
            vectors[index] = vector
    found = torch.stack([vector for vector in vectors if vector is not None])
    return normalise(found) if is_normalised else found


def mean(states: Tensor, tokens: Tokens) -> Tensor:
    """The mean over all tokens but padding. states: [batch, position, d_model] -> [batch, d_model]."""
    counted = (tokens.segment >= 0).unsqueeze(-1).to(states.dtype)
    return (states * counted).sum(1) / counted.sum(1)


def first(states: Tensor, tokens: Tokens) -> Tensor:
    """The state of each text's first token. states: [batch, position, d_model] -> [batch, d_model]."""
    place = (tokens.segment >= 0).int().argmax(1).expand(len(states))
    return states[torch.arange(len(states), device=states.device), place]


def normalise(vectors: Tensor) -> Tensor:
    """To length 1. vectors: [batch, d_model] -> the same shape."""
    return F.normalize(vectors, dim=-1)


def _embedded(lm: LM, rows: Sequence[list[int]], pooling: Pooling) -> Tensor:
    """rows: the ids of each text -> [batch, d_model]."""
    model, lengths = lm.model, [len(row) for row in rows]
    width = max(lengths)
    device = model.token.weight.device
    ids = torch.tensor([[*row, *row[:1] * (width - len(row))] for row in rows], device=device)  # padding is never seen
    seen = padded(lengths, width, is_causal=False) if lm.config.has_cross else layouts.texts(lm.config, lengths, width)
    tokens = seen.to(device)
    call = Call(tokens, attend=fused)
    states = model.encode(ids, call).states if lm.config.has_cross else model.states(ids, call)
    if pooling == "pooler":
        return model.pooled(states, call)
    return mean(states, tokens) if pooling == "mean" else first(states, tokens)


def _ids(lm: LM, text: str | Sequence[int]) -> list[int]:
    ids = lm.ids(text)
    if isinstance(text, str) and lm.config.encoder is not None and not any(lm.tokenizer.frame):
        roles = lm.tokenizer.roles
        start, end = roles.cls, roles.eos if roles.sep is None else roles.sep
        ids = [*([] if start is None else [start]), *ids, *([] if end is None else [end])]
    if not ids:
        raise CutawayError("A text without tokens has no vector. Leave it out.")
    low, high = min(ids), max(ids)
    if low < 0 or high >= lm.config.vocab_size:
        raise CutawayError(f"An id is outside the vocabulary: ids run from 0 to {lm.config.vocab_size - 1}.")
    stack = lm.config.encoder or lm.config.main
    if stack.position.is_table and len(ids) > lm.config.context:
        raise CutawayError(
            f"A text of {len(ids)} tokens is longer than this model reads, {lm.config.context}. Shorten it, or cut it in parts."
        )
    return ids
