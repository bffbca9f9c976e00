"""Who sees whom where tokens are hidden. In: sizes. Out: `Tokens`, from the predicate's fields alone.

Block diffusion (Arriola et al. 2025, BD3-LM §3.1: one pass over noised and clean text) and hybrid drafts (Liu et al. 2025,
TiDAR: a causal part that verifies, and for every possible number of accepted drafts a block of masks that drafts anew).
All fields are [1, position]; a segment is a text of its own within its row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import ModelConfig
from .visibility import NEVER, PADDING, Tokens, build, causal, full, padded


def text(config: ModelConfig, length: int, *, device: torch.device | None = None) -> Tokens:
    """A text as the model was trained to read it: causal, in blocks, or every token seeing every other."""
    if config.sees_ahead:
        return full(length, device=device)
    if config.says_next or config.block_size is None:
        return causal(length, device=device)
    return blocks(0, length, config.block_size, device=device)


def texts(config: ModelConfig, lengths: Sequence[int], length: int) -> Tokens:
    """As `text`, of several texts filled up at the right to one length."""
    if config.sees_ahead or config.says_next or config.block_size is None:
        return padded(lengths, length, is_causal=not config.sees_ahead)
    position = torch.arange(length).expand(len(lengths), -1)
    time = position // config.block_size
    is_text = position < torch.tensor(lengths).unsqueeze(1)
    return build(known=time, reads=time, position=position, segment=torch.where(is_text, 0, PADDING))


def blocks(start: int, end: int, size: int, *, device: torch.device | None = None) -> Tokens:
    """Clean text from start to end, causal by blocks of `size`: a token sees the blocks up to its own."""
    position = torch.arange(start, end, device=device).unsqueeze(0)
    return build(known=position // size, reads=position // size, position=position)


def noised_block(start: int, end: int, size: int, *, device: torch.device | None = None) -> Tokens:
    """One noised block over the clean blocks before it, which a store may hold; nobody else sees it."""
    position = torch.arange(start, end, device=device).unsqueeze(0)
    block = position // size
    return build(known=torch.full_like(block, NEVER), reads=block - 1, group=block, position=position)


def block_diffusion(position: Tensor, size: int, segment: Tensor | None = None) -> Tokens:
    """The noised text, then the clean text: [batch, 2 × position]. Time is counted in blocks of `size` tokens.

    A clean token sees the clean blocks up to its own. A noised token sees the clean blocks before its own, and the noised
    tokens of its own block; nobody else sees it. position, segment: [batch, position], of the text.
    """
    block = position // size
    never, alone = torch.full_like(block, NEVER), torch.full_like(block, -1)
    return build(
        known=torch.cat([never, block], 1),
        reads=torch.cat([block - 1, block], 1),
        group=torch.cat([block, alone], 1),
        position=torch.cat([position, position], 1),
        segment=None if segment is None else torch.cat([segment, segment], 1),
    )


def hybrid(position: Tensor, size: int, segment: Tensor | None = None, offset: int = 0) -> Tokens:
    """The clean text, causal, then as many masks in blocks of `size`: [batch, 2 × position].

    A mask sees the text before its block, and its block; nobody else sees it. offset: what is added to positions where blocks are
    counted. The other arguments: as of `block_diffusion`.
    """
    block = (position + offset) // size
    begin = (block * size - offset).clamp_min(0)
    return build(
        known=torch.cat([position, torch.full_like(position, NEVER)], 1),
        reads=torch.cat([position, begin - 1], 1),
        group=torch.cat([torch.full_like(block, -1), block], 1),
        position=torch.cat([position, position], 1),
        segment=None if segment is None else torch.cat([segment, segment], 1),
    )


def drafting(start: int, num_known: int, sizes: Sequence[int], *, device: torch.device | None = None) -> Tokens:
    """Known tokens and drafts at start …, causal, num_known of them; then a block of masks for each of `sizes`.

    One block fewer are drafts, the last of the known: block r stands behind the first r drafts, and sees them and what is before.
    """
    first, counts = start + num_known - len(sizes) + 1, torch.tensor(sizes)
    block = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    place = torch.arange(len(block)) - (counts.cumsum(0) - counts)[block]
    begin = (first + block).unsqueeze(0)
    drafted = build(
        known=torch.full_like(begin, NEVER), reads=begin - 1, group=block.unsqueeze(0), position=begin + place
    )
    known = causal(num_known, start, device=device).fields
    return Tokens(torch.cat([known, drafted.fields.to(known.device)], dim=2))
