"""What is hidden, how often, and how much it counts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cutaway.objectives import Evenly, at_rate, by_count, by_time
from cutaway.objectives.noise import numbered, ranks, spread

ROWS, LENGTH, SIZE = 40, 12, 4
EVERYWHERE = torch.ones(ROWS, LENGTH, dtype=torch.bool)
ONE = torch.zeros(ROWS, LENGTH, dtype=torch.long)
BLOCKS = (torch.arange(LENGTH) // SIZE).expand(ROWS, -1)
RAGGED = torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(2)) < 0.6


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("blocks", [ONE, BLOCKS], ids=["one block", "blocks"])
@pytest.mark.parametrize("may_hide", [EVERYWHERE, RAGGED], ids=["everywhere", "ragged"])
@pytest.mark.parametrize("noise", [by_time, by_count])
def test_nothing_else_is_hidden_and_the_weights_have_mean_one(noise, may_hide, blocks) -> None:  # type: ignore[no-untyped-def]
    total = torch.zeros(ROWS, LENGTH)
    for seed in range(300):
        found = noise(may_hide, blocks, generator(seed))
        assert not (found.is_hidden & ~may_hide).any()
        assert ((found.weights > 0) == found.is_hidden).all()
        assert found.count == may_hide.sum()
        total += found.weights
    assert math.isclose(float(total.sum()) / 300, float(may_hide.sum()), rel_tol=0.03)


def test_exactly_k_of_n_and_every_k_as_often() -> None:
    counts = torch.zeros(SIZE + 1)
    for seed in range(50):
        found = by_count(EVERYWHERE, BLOCKS, generator(seed))
        hidden = found.is_hidden.view(ROWS, -1, SIZE).sum(-1)
        weight = found.weights.view(ROWS, -1, SIZE).amax(-1)
        assert torch.allclose(weight * hidden, torch.tensor(float(SIZE)))
        counts += torch.bincount(hidden.flatten(), minlength=SIZE + 1)
    assert counts[0] == 0
    assert torch.allclose(counts[1:] / counts.sum(), torch.tensor(1 / SIZE), atol=0.01)


def test_every_set_of_places_is_as_likely() -> None:
    """Of 3 places, 3 sets of one and 3 of two and 1 of three, each k a third."""
    seen: dict[tuple[bool, ...], int] = dict.fromkeys(itertools.product((False, True), repeat=3), 0)
    may_hide, blocks = torch.ones(500, 3, dtype=torch.bool), torch.zeros(500, 3, dtype=torch.long)
    for seed in range(12):
        for row in by_count(may_hide, blocks, generator(seed)).is_hidden.tolist():
            seen[tuple(row)] += 1
    for way, number in seen.items():
        wanted = 0.0 if sum(way) == 0 else 2000 / math.comb(3, sum(way))
        assert abs(number - wanted) <= 5 * math.sqrt(wanted)


def test_draws_are_spread_evenly() -> None:
    """One in each of as many equal parts, where independent draws leave some empty."""
    found = spread(64, generator())
    assert sorted((found * 64).ceil().long().tolist()) == list(range(1, 65))
    assert not torch.equal(found, found.sort().values)
    assert len(set((torch.rand(64, generator=generator()) * 64).long().tolist())) < 50


def test_blocks_of_all_rows_are_numbered_apart() -> None:
    number, num_blocks = numbered(BLOCKS)
    assert num_blocks == ROWS * LENGTH // SIZE
    assert len(number.unique()) == num_blocks
    assert (number.view(ROWS, -1, SIZE) == number.view(ROWS, -1, SIZE)[..., :1]).all()


def test_ranks_order_what_may_be_hidden_first() -> None:
    number, _ = numbered(BLOCKS)
    found = ranks(number, RAGGED, generator()).view(ROWS, -1, SIZE)
    assert (found.sort(-1).values == torch.arange(SIZE)).all()
    sizes = RAGGED.view(ROWS, -1, SIZE).sum(-1, keepdim=True)
    assert ((found < sizes) == RAGGED.view(ROWS, -1, SIZE)).all()


def test_one_rate_hides_that_share_and_always_something() -> None:
    shares = [at_rate(EVERYWHERE, 0.25, generator(seed)) for seed in range(50)]
    assert math.isclose(sum(float(each.is_hidden.float().mean()) for each in shares) / 50, 0.25, abs_tol=0.02)
    rare = at_rate(RAGGED, 1e-9, generator())
    assert (rare.is_hidden.sum(1) == 1).all()
    assert rare.count == ROWS
    assert not (rare.is_hidden & ~RAGGED).any()


def test_the_same_seed_hides_the_same() -> None:
    for noise in (by_time, by_count):
        one, same, other = (noise(EVERYWHERE, BLOCKS, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(one.is_hidden, same.is_hidden)
        assert not torch.equal(one.is_hidden, other.is_hidden)


def test_what_is_spread_over_a_corpus_does_not_depend_on_its_batches() -> None:
    whole = Evenly(generator())(1000)
    parts = Evenly(generator())
    assert torch.equal(torch.cat([parts(number) for number in (1, 7, 0, 400, 592)]), whole)
    assert 0 < float(whole.min()) < float(whole.max()) <= 1
    hundred = torch.bincount((whole * 100).ceil().long() - 1, minlength=100)
    assert hundred.min() >= 8
    assert hundred.max() <= 12
    starts = torch.tensor([float(Evenly(generator(seed))(1)) for seed in range(400)])
    assert abs(float(starts.mean()) - 0.5) < 0.06
