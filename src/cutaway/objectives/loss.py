"""The one loss. In: logits, targets, weights. Out: the weighted sum of −log p(target), to be divided by the global count.

    loss = Σ weight · (logsumexp(logits) − logits[target])   in nats; the mean is over all scored tokens of a step,
so that accumulating gradients over micro-batches of different sizes gives the same gradient as one large batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.visibility import Tokens


@dataclass(frozen=True, slots=True)
class Task:
    """One micro-batch as a model sees it. input_ids, target_ids: [batch, position]; weights: the same, None for all ones.

    source_ids: [batch, source], what an encoder reads, and source, who sees whom in it; None where there is no encoder.
    types: [batch, position], of each token; None: all 0. candidates: [batch, position], among which the targets are, where the
    model's labels are asked and not its head: target_ids is then [batch, label], a place for each label. Where there are fewer
    targets than inputs, they are those of the first. count: what the sum of the losses is divided by; None: the sum of weights.
    barred_id: an id that is never a target, and has no probability.
    """

    input_ids: Tensor
    tokens: Tokens
    target_ids: Tensor
    weights: Tensor | None = None
    source_ids: Tensor | None = None
    source: Tokens | None = None
    types: Tensor | None = None
    candidates: Tensor | None = None
    count: float | None = None
    barred_id: int | None = None

    def to(self, device: torch.device) -> Task:
        """The same task on a device."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in given.items() if isinstance(value, (Tensor, Tokens))
        }
        return replace(self, **moved)

    @property
    def num_tokens(self) -> int:
        """Tokens that the model reads, padding included."""
        return self.input_ids.numel() + (0 if self.source_ids is None else self.source_ids.numel())

    @property
    def num_scored(self) -> float:
        """How many tokens count: the sum of the weights, unless the task says."""
        if self.count is not None:
            return self.count
        return float(self.target_ids.numel() if self.weights is None else self.weights.sum())


def cross_entropy(logits: Tensor, task: Task, label_smoothing: float = 0.0) -> Tensor:
    """The weighted sum over all tokens, in nats, computed in fp32 at least. logits: [batch, position, vocab], or of a task with
    candidates [batch, label, position].

    label_smoothing: this share of each target is spread over the whole vocabulary (Szegedy et al. 2016 §7).
    """
    wide = logits.flatten(0, 1)
    wide = wide if wide.dtype.itemsize >= 4 else wide.float()
    if task.weights is None:
        return F.cross_entropy(wide, task.target_ids.flatten(), reduction="sum", label_smoothing=label_smoothing)
    losses = F.cross_entropy(wide, task.target_ids.flatten(), reduction="none", label_smoothing=label_smoothing)
    return (losses * task.weights.flatten().to(losses.dtype)).sum()
