"""Say hidden tokens. In: a batch of texts, noise, the id of the mask. Out: the task, by one of three layouts.

masked      the noised text alone, every token seeing every other: masked language models (Devlin et al. 2019) and masked
            diffusion (Sahoo et al. 2024; Nie et al. 2025), which differ in their noise only.
by_blocks   noised and clean text in one pass, block by block (Arriola et al. 2025, BD3-LM): a block is said by masked diffusion,
            given the clean blocks before it.
drafted     clean text, read causally, and as many masks in blocks (Liu et al. 2025, TiDAR): the next token after every clean one,
            and at each mask a token of the block that follows the clean text before it. Each loss is over its own number of
            tokens.

A hidden token is never the mask itself, which has no probability (Sahoo et al. 2024 §3.2.3).

is_shifted: a hidden token is said one place earlier, where a model that predicts the next token says it (Gong et al. 2025; Ye et
al. 2025); then the first token of a text is never hidden. Not for blocks: one place before a block lies another, which does not
see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.packing import Batch
from ..model import layouts, visibility
from .loss import Task
from .noise import Noise


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as diffusion reads it, all [batch, position].

    may_hide: which tokens count. segments: None where a row is one text. positions: in its text.
    """

    ids: Tensor
    next_ids: Tensor
    may_hide: Tensor
    positions: Tensor
    segments: Tensor | None
    scored: Tensor

    @property
    def share(self) -> float:
        """Tokens that may be hidden for one that next-token prediction scores."""
        return float(self.may_hide.sum()) / max(1.0, float(self.scored.sum()))


def rows_of(batch: Batch, *, is_shifted: bool = False) -> Rows:
    """What may be hidden: a token that next-token prediction would score; and the first of a text, unless it is shifted, if the
    one after it is scored. What fills up a row is never hidden."""
    ids, next_ids = torch.as_tensor(batch.input_ids), torch.as_tensor(batch.target_ids)
    scored = torch.as_tensor(batch.weights) > 0
    if batch.segments is None or batch.positions is None:
        positions, segments = torch.arange(ids.shape[1]).expand_as(ids), None
        is_text = torch.ones_like(scored)
    else:
        positions, segments = torch.as_tensor(batch.positions), torch.as_tensor(batch.segments)
        is_text = segments != visibility.PADDING
    before = torch.cat([torch.zeros_like(scored[:, :1]), scored[:, :-1]], dim=1)
    may_hide = torch.where(positions == 0, scored & (not is_shifted), before) & is_text
    return Rows(ids, next_ids, may_hide, positions, segments, scored)


def masked(rows: Rows, noise: Noise, mask_id: int, *, is_shifted: bool = False) -> Task:
    """The noised text alone."""
    tokens = visibility.full(rows.ids.shape[1])
    if rows.segments is not None:
        tokens = visibility.packed(rows.segments, rows.positions, is_causal=False)
    targets, weights = said_at(rows.ids, noise.weights, is_shifted)
    return Task(hidden(rows.ids, noise, mask_id), tokens, targets, weights, count=noise.count, barred_id=mask_id)


def by_blocks(rows: Rows, noise: Noise, mask_id: int, size: int) -> Task:
    """The noised text, of which the losses are, and then the clean one."""
    tokens = layouts.block_diffusion(rows.positions, size, rows.segments)
    inputs = torch.cat([hidden(rows.ids, noise, mask_id), rows.ids], 1)
    return Task(inputs, tokens, rows.ids, noise.weights, count=noise.count, barred_id=mask_id)


def drafted(
    rows: Rows, mask_id: int, size: int, offset: int, *, is_shifted: bool = False, draft_weight: float = 1.0
) -> Task:
    """The clean text, then masks. offset: where blocks begin, 0 … size − 1: a draft may begin anywhere.

    loss = mean over next tokens + draft_weight · mean over masks.
    """
    tokens = layouts.hybrid(rows.positions, size, rows.segments, offset)
    is_drafted = rows.scored if is_shifted else rows.may_hide
    drafts = rows.next_ids if is_shifted else rows.ids
    count, num_drafts = float(rows.scored.sum()), max(1.0, float(is_drafted.sum()))
    return Task(
        torch.cat([rows.ids, torch.full_like(rows.ids, mask_id)], 1),
        tokens,
        torch.cat([rows.next_ids, drafts], 1),
        torch.cat([rows.scored.float(), is_drafted.float() * (draft_weight * count / num_drafts)], 1),
        count=count,
    )


def block_numbers(rows: Rows, size: int | None) -> Tensor:
    """The block of each token among its row's: one for each text, or for every `size` of its tokens. [batch, position]."""
    segments = torch.zeros_like(rows.positions) if rows.segments is None else rows.segments + 1
    if size is None:
        return segments
    blocks = rows.positions // size
    return segments * (int(blocks.max()) + 1) + blocks


def hidden(ids: Tensor, noise: Noise, mask_id: int) -> Tensor:
    """The noised text."""
    return torch.where(noise.is_hidden, mask_id, ids)


def said_at(ids: Tensor, weights: Tensor, is_shifted: bool) -> tuple[Tensor, Tensor]:
    """Targets and weights where they are said: at a token's own place, or one place earlier."""
    if not is_shifted:
        return ids, weights
    last = torch.zeros_like(weights[:, :1])
    return torch.cat([ids[:, 1:], ids[:, :1]], 1), torch.cat([weights[:, 1:], last], 1)
