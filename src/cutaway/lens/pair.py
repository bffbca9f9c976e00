"""What an encoder-decoder does with a source and what it says. In: both as ids. Out: a `Trace` of both stacks; an alignment.

An alignment gives each target token the source token that the decoder looks at most while it says it, by cross-attention
averaged over the heads of a layer (Bahdanau et al. 2015 §5.2.1). Which layer aligns best depends on the model: of six,
Garg et al. 2019 found the last but one; of our three, it is the last (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model import Transformer
from ..model.visibility import causal, full
from .observe import trace
from .reading import Reading
from .trace import Trace


def trace_pair(
    model: Transformer,
    source_ids: Sequence[int],
    input_ids: Sequence[int],
    patterns: str | Sequence[str] = "*",
) -> Trace:
    """One pass of both stacks, every site that the patterns name kept.

    source_ids: what the encoder reads. input_ids: what the decoder reads, its start token first.
    """
    device = model.token.weight.device
    source, said = (torch.tensor([list(ids)], device=device) for ids in (source_ids, input_ids))
    read = Reading(ids=source, tokens=full(source.shape[1], device=device), lengths=(source.shape[1],), texts=())
    tokens = causal(said.shape[1], device=device)
    return trace(model, Reading(ids=said, tokens=tokens, lengths=(said.shape[1],), texts=(), source=read), patterns)


def cross_attention(
    model: Transformer, source_ids: Sequence[int], input_ids: Sequence[int], layer: int | None = None
) -> Tensor:
    """How much of each source token goes into what is said behind each input token, the mean over heads: [position, source].

    layer: of the decoder; None: the last.
    """
    site = f"decoder.layers.{model.config.main.num_layers - 1 if layer is None else layer}.cross.weights"
    return trace_pair(model, source_ids, input_ids, site)[site][0].mean(dim=0)
