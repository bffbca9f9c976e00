"""What an encoder-decoder does with a source and what it says. In: both as ids. Out: a `Trace` of both stacks; an alignment.

An alignment gives each target token the source token that the decoder looks at most while it says it, by cross-attention
averaged over the heads of a layer (Bahdanau et al. 2015 §5.2.1). Which layer aligns best depends on the model: of six,
Garg et al. 2019 found the last but one; of our three, it is the last (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model import Call, Transformer
from ..model.visibility import causal, full
from ..runtime.attend import fused
from .sites import sites
from .trace import Recorder, Trace


@torch.inference_mode()
def trace_pair(
    model: Transformer,
    source_ids: Sequence[int],
    input_ids: Sequence[int],
    patterns: str | Sequence[str] = "*",
    tokens: Sequence[str] = (),
) -> Trace:
    """One pass of both stacks, every site that the patterns name kept.

    source_ids: what the encoder reads. input_ids: what the decoder reads, its start token first. tokens: the texts of input_ids.
    """
    names = [site.name for site in sites(model.config, 1, len(input_ids), source=len(source_ids))]
    recorder, device = Recorder(patterns, names), model.token.weight.device
    source = Call(full(len(source_ids), device=device), attend=fused, watch=recorder)
    memory = model.encode(torch.tensor([list(source_ids)], device=device), source)
    ids = torch.tensor([list(input_ids)], device=device)
    model(ids, Call(causal(len(input_ids), device=device), attend=fused, memory=memory, watch=recorder))
    return recorder.trace(ids, tokens)


def cross_attention(
    model: Transformer, source_ids: Sequence[int], input_ids: Sequence[int], layer: int | None = None
) -> Tensor:
    """How much of each source token goes into what is said behind each input token, the mean over heads: [position, source].

    layer: of the decoder; None: the last.
    """
    site = f"decoder.layers.{model.config.main.num_layers - 1 if layer is None else layer}.cross.weights"
    return trace_pair(model, source_ids, input_ids, site)[site][0].mean(dim=0)
