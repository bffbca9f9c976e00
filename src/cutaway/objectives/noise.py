"""Which tokens are hidden, and how much each counts. In: which may be hidden, in blocks. Out: a `Noise`, from a generator.

Absorbing diffusion hides each token with a chance t, and −log p(hidden token) counts 1/t (Sahoo et al. 2024, MDLM eq. 10; Shi et
al. 2024): the mean over t of the sum is a bound on −log p(text). To hide exactly k of n tokens, k uniform on 1 … n, and count n/k
each, has the same mean and varies less (Nie et al. 2025, LLaDA eq. 6). One t, or one k, is drawn for each block.

Low variance: the draws of one call are spread evenly over their range (Kingma et al. 2021, VDM §5.1); those of a whole corpus by
the multiples of the golden ratio (Weyl 1916), so that how it is cut into batches changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN = (5**0.5 - 1) / 2
SMALLEST_TIME = 1e-3  # below, a token that happens to be hidden would count more than a whole text


@dataclass(frozen=True, slots=True)
class Noise:
    """is_hidden: [batch, position] of bool. weights: [batch, position] float32, 0 where nothing is hidden. count: the tokens that
    the sum of the weighted losses is a sum over."""

    is_hidden: Tensor
    weights: Tensor
    count: float


class Evenly:
    """Numbers in (0, 1] for one batch after another: 1 − (start + n · GOLDEN mod 1), n counting through all of them."""

    def __init__(self, generator: torch.Generator) -> None:
        self._start = float(torch.rand(1, generator=generator, dtype=torch.float64))
        self._count = 0

    def __call__(self, number: int) -> Tensor:
        """The next ones: [number] float64."""
        counts = torch.arange(self._count, self._count + number, dtype=torch.float64)
        self._count += number
        return 1 - (self._start + counts * GOLDEN) % 1


def by_time(may_hide: Tensor, blocks: Tensor, generator: torch.Generator, evenly: Evenly | None = None) -> Noise:
    """Hide each token with the chance t of its block, weight 1/t.

    may_hide, blocks: [batch, position], of bool, and the number of each token's block in its row. evenly: where the times of the
    blocks come from; None: spread over this call.
    """
    number, num_blocks = numbered(blocks)
    times = spread(num_blocks, generator) if evenly is None else evenly(num_blocks)
    times = times.clamp_min(SMALLEST_TIME)[number]
    is_hidden = may_hide & (torch.rand(may_hide.shape, generator=generator, dtype=torch.float64) < times)
    return weighted(is_hidden, 1 / times, float(may_hide.sum()))


def by_count(may_hide: Tensor, blocks: Tensor, generator: torch.Generator, evenly: Evenly | None = None) -> Noise:
    """Hide k of the n tokens of each block, k uniform on 1 … n, weight n/k. Arguments: as of `by_time`."""
    number, num_blocks = numbered(blocks)
    sizes = torch.zeros(num_blocks, dtype=torch.long).index_add_(0, number.flatten(), may_hide.flatten().long())
    parts = spread(num_blocks, generator) if evenly is None else evenly(num_blocks)
    counts = (parts * sizes).long().clamp_max(sizes - 1) + 1
    is_hidden = may_hide & (ranks(number, may_hide, generator) < counts[number])
    return weighted(is_hidden, (sizes / counts)[number], float(may_hide.sum()))


def at_rate(may_hide: Tensor, rate: float, generator: torch.Generator) -> Noise:
    """Hide each token with one chance, weight 1: masked language modelling (Devlin et al. 2019), which bounds nothing.

    One token of each row is hidden whatever the chance says, so that every row teaches.
    """
    draws = torch.rand(may_hide.shape, generator=generator, dtype=torch.float64).masked_fill(~may_hide, 2.0)
    is_hidden = may_hide & ((draws < rate) | (draws == draws.min(1, keepdim=True).values))
    return weighted(is_hidden, torch.ones_like(draws), float(is_hidden.sum()))


def weighted(is_hidden: Tensor, weights: Tensor, count: float) -> Noise:
    """The weights of the hidden tokens, 0 elsewhere."""
    return Noise(is_hidden, torch.where(is_hidden, weights, 0).float(), count)


def spread(number: int, generator: torch.Generator) -> Tensor:
    """Numbers in (0, 1], one in each of as many equal parts, in random order: [number] float64."""
    start = torch.rand(1, generator=generator, dtype=torch.float64)
    order = torch.randperm(number, generator=generator)
    return 1 - (order + start) / number


def numbered(blocks: Tensor) -> tuple[Tensor, int]:
    """Blocks of every row as numbers of the whole batch: [batch, position], and how many there are."""
    wide = blocks - blocks.min()
    rows = torch.arange(len(blocks)).unsqueeze(1) * (int(wide.max()) + 1)
    _, number = torch.unique(wide + rows, return_inverse=True)
    return number, int(number.max()) + 1


def ranks(number: Tensor, may_hide: Tensor, generator: torch.Generator) -> Tensor:
    """A random order among the tokens of each block that may be hidden, those that may not behind them: [batch, position]."""
    draws = torch.rand(number.shape, generator=generator, dtype=torch.float64) * 0.5
    keys = (number + draws + torch.where(may_hide, 0.0, 0.5)).flatten()
    order = keys.argsort(stable=True)
    ordered = number.flatten()[order]
    begins = torch.searchsorted(ordered, ordered)
    found = torch.empty_like(order)
    found[order] = torch.arange(len(order)) - begins
    return found.view(number.shape)
