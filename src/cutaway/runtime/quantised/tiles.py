"""How rounded weights lie in memory: in the order in which a kernel reads them. In: codes by row and input. Out: tiles, and back.

A tile is 16 outputs. Within it, what is multiplied by the same inputs lies together, so that memory is read from end to end once,
and no sum runs across a vector:

    8 bits   [tile, group, quad of inputs, output, 4 inputs]           int8
    4 bits   [tile, group, quad of inputs, output, 4 inputs]           the codes + 8 of quad i and of quad i + 4 in one byte
    scales   [tile, group, output]                                     fp16
    16 bits  [tile, pair of inputs, output, 2 inputs]                  bf16

What fills up the last tile, group or pair is zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .rounding import GROUP

OUTPUTS = 16  # of a tile
QUAD = 4  # inputs that one instruction adds up
QUADS = GROUP // QUAD
OFFSET = 8  # makes codes of 4 bits 0 … 15


def tiled(codes: Tensor, bits: int) -> Tensor:
    """codes: int8 [d_out, d_in] -> int8 or uint8 [tile, group, quad, output, 4]."""
    d_out, d_in = codes.shape
    whole = F.pad(codes, (0, -d_in % GROUP, 0, -d_out % OUTPUTS))
    tiles = whole.unflatten(0, (-1, OUTPUTS)).unflatten(2, (-1, QUADS, QUAD)).permute(0, 2, 3, 1, 4)
    if bits == 8:
        return tiles.contiguous()
    low, high = (tiles + OFFSET).to(torch.uint8).chunk(2, dim=2)
    return (low | high << 4).contiguous()


def untiled(tiles: Tensor, bits: int) -> Tensor:
    """The codes of whole tiles: int8 [d_out, d_in], both filled up."""
    if bits == 4:
        tiles = torch.cat((tiles & 15, tiles >> 4), dim=2).to(torch.int8) - OFFSET
    return tiles.permute(0, 3, 1, 2, 4).flatten(2).flatten(0, 1)


def tiled_scales(scales: Tensor) -> Tensor:
    """scales: [d_out, group] -> [tile, group, output]."""
    whole = F.pad(scales, (0, 0, 0, -scales.shape[0] % OUTPUTS))
    return whole.unflatten(0, (-1, OUTPUTS)).transpose(1, 2).contiguous()


def untiled_scales(tiles: Tensor) -> Tensor:
    """[tile, group, output] -> [d_out, group], filled up."""
    return tiles.transpose(1, 2).flatten(0, 1)


def tiled_pairs(weight: Tensor) -> Tensor:
    """weight: bf16 [d_out, d_in] -> [tile, pair, output, 2]."""
    d_out, d_in = weight.shape
    is_whole = d_in % 2 == d_out % OUTPUTS == 0
    whole = weight.contiguous() if is_whole else F.pad(weight, (0, d_in % 2, 0, -d_out % OUTPUTS))
    pairs = whole.view(torch.int32).unflatten(0, (-1, OUTPUTS))  # a pair moves as one number, six times as fast
    return pairs.transpose(1, 2).contiguous().unsqueeze(3).view(torch.bfloat16)


def untiled_pairs(tiles: Tensor) -> Tensor:
    """[tile, pair, output, 2] -> [d_out, d_in], filled up."""
    pairs = tiles.contiguous().view(torch.int32).squeeze(3)
    return pairs.transpose(1, 2).contiguous().view(torch.bfloat16).flatten(0, 1)
