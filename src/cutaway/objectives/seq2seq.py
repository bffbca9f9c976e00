"""Say the target, having read the source. In: a batch of pairs. Out: the task: targets see the source and what was said.

Sutskever et al. 2014; Vaswani et al. 2017 §3. Padding behind a target needs no mask: nothing that counts comes after it.
"""

from __future__ import annotations

import torch

from ..data.pair_loader import PairBatch
from ..model import visibility
from .loss import Task


def seq2seq(batch: PairBatch) -> Task:
    """Next-token prediction of the targets. Sources of one length see all of themselves; others are padded at the right."""
    length, lengths = batch.source_ids.shape[1], batch.source_lengths.tolist()
    is_even = min(lengths) == length
    source = visibility.full(length) if is_even else visibility.padded(lengths, length, is_causal=False)
    weights = None if batch.weights.all() else torch.as_tensor(batch.weights)
    return Task(
        torch.as_tensor(batch.input_ids),
        visibility.causal(batch.input_ids.shape[1]),
        torch.as_tensor(batch.target_ids),
        weights,
        torch.as_tensor(batch.source_ids),
        source,
    )
