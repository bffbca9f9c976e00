"""Visibility of the decoders to come. In: sizes. Out: `Tokens`, from the predicate's fields alone.

Block diffusion (Arriola et al. 2025, BD3-LM §3.1: one pass over noised and clean text) and hybrid drafts (Liu et al. 2025,
TiDAR: a causal part that verifies, and for every possible number of accepted drafts a block of masks that drafts anew).
"""

from __future__ import annotations

import torch

from cutaway.model import Tokens, visibility
from cutaway.model.visibility import NEVER, NO_PEERS


def block_diffusion(length: int, size: int) -> Tokens:
    """The noised text, then the clean text: [1, 2 × length]. Time is counted in blocks of `size` tokens.

    A clean token sees the clean blocks up to its own. A noised token sees the clean blocks before its own, and the noised
    tokens of its own block; nobody else sees it.
    """
    position = torch.arange(length).unsqueeze(0)
    block, never = position // size, torch.full((1, length), NEVER)
    return visibility.build(
        known=torch.cat([never, block], 1),
        reads=torch.cat([block - 1, block], 1),
        group=torch.cat([block, torch.full_like(block, NO_PEERS)], 1),
        position=torch.cat([position, position], 1),
    )


def blocks(start: int, end: int, size: int) -> Tokens:
    """Clean text from start to end, causal by blocks."""
    position = torch.arange(start, end).unsqueeze(0)
    return visibility.build(known=position // size, reads=position // size, position=position)


def noised_block(start: int, end: int, size: int) -> Tokens:
    """One noised block over the clean blocks before it, which a store may hold."""
    position = torch.arange(start, end).unsqueeze(0)
    block = position // size
    return visibility.build(known=torch.full_like(block, NEVER), reads=block - 1, group=block, position=position)


def masks(start: int, size: int, *, group: int = 0) -> Tokens:
    """A block of masks at positions start …: each sees what is before `start` and its own block; nobody else sees it."""
    position = torch.arange(start, start + size).unsqueeze(0)
    same = torch.ones_like(position)
    return visibility.build(known=same * NEVER, reads=same * (start - 1), group=same * group, position=position)


def hybrid(num_known: int, num_drafts: int, size: int) -> Tokens:
    """Known text and drafts, causal; then, for r = 0 … num_drafts, the masks that follow if exactly r drafts are accepted."""
    causal = visibility.causal(num_known + num_drafts)
    proposals = [masks(num_known + r, size, group=r) for r in range(num_drafts + 1)]
    return Tokens(torch.cat([causal.fields, *(part.fields for part in proposals)], dim=2))
