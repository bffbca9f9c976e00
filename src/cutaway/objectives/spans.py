"""Say where an answer begins and where it ends. In: a batch of windows. Out: the task: of all places, the two that are marked.

    loss = −log softmax(begin scores)[begin] − log softmax(end scores)[end]

each over the tokens of a row that may answer: the context, and cls for "no answer" (Devlin et al. 2019 §4.2 and 4.3). So a row
has two targets among its positions: what a vocabulary is to a language model, the row is here, and `cross_entropy` serves both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.question_loader import WindowBatch
from ..model import visibility
from .loss import Task


def spans(batch: WindowBatch) -> Task:
    """Begin and end of the answer of each row. Rows of one length see all of themselves; others are padded at the right."""
    length, lengths = batch.input_ids.shape[1], batch.lengths.tolist()
    is_even = min(lengths) == length
    return Task(
        torch.as_tensor(batch.input_ids),
        visibility.full(length) if is_even else visibility.padded(lengths, length, is_causal=False),
        torch.as_tensor(batch.target_ids),
        types=None if batch.types is None else torch.as_tensor(batch.types),
        candidates=torch.as_tensor(batch.candidates),
    )


def span_logits(scores: Tensor, candidates: Tensor) -> Tensor:
    """The scores of tokens as logits over places, −inf where no answer may begin or end.

    scores: [batch, position, label]; candidates: [batch, position] -> [batch, label, position].
    """
    return scores.transpose(1, 2).masked_fill(~candidates.unsqueeze(1), -torch.inf)
