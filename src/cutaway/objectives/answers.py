"""Write the answers of many questions to one text. In: a batch of rows. Out: the task: a branch sees its trunk, and itself.

The loss is next-token prediction of the answers. What a row of branches saves is reading the text anew for each question; what a
branch sees is what it would see alone, so its logits are those of a row of its own.
"""

from __future__ import annotations

import torch

from ..data.answer_loader import AnswerBatch
from ..model import visibility
from .loss import Task


def answers(batch: AnswerBatch) -> Task:
    """Next-token prediction of the answers. The trunk is causal and sees no branch; branches are groups of peers, in order."""
    branches, starts, ranks = (torch.as_tensor(each) for each in (batch.branches, batch.starts, batch.ranks))
    is_branch = torch.as_tensor(batch.is_branch)
    tokens = visibility.build(
        known=torch.where(is_branch, visibility.NEVER, starts),
        reads=torch.where(is_branch, starts - 1, starts),
        position=starts + ranks,
        group=torch.where(is_branch, branches, visibility.NO_PEERS),
        rank=ranks,
        segment=torch.where(torch.as_tensor(batch.is_padding), visibility.PADDING, torch.as_tensor(batch.segments)),
    )
    return Task(
        torch.as_tensor(batch.input_ids), tokens, torch.as_tensor(batch.target_ids), torch.as_tensor(batch.weights)
    )
