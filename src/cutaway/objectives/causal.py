"""Predict the next token. In: a batch of windows. Out: the task: each token sees itself and what came before it."""

from __future__ import annotations

import torch

from ..data.packing import Batch
from ..model import visibility
from .loss import Task


def causal(batch: Batch) -> Task:
    """Next-token prediction (Bengio et al. 2003; Radford et al. 2018, eq. 1). Packed documents never see one another."""
    inputs = torch.as_tensor(batch.input_ids)
    targets = torch.as_tensor(batch.target_ids)
    if batch.segments is None or batch.positions is None:
        tokens = visibility.causal(inputs.shape[1])
    else:
        tokens = visibility.packed(torch.as_tensor(batch.segments), torch.as_tensor(batch.positions))
    weights = None if (batch.weights == 1).all() else torch.as_tensor(batch.weights)
    return Task(inputs, tokens, targets, weights)
