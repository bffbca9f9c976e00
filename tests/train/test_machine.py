"""What the machine can do: a rate of the right size, and calls that may be made twice."""

from __future__ import annotations

import pytest
import torch

from cutaway.train.machine import keep_freed_memory, peak_flops


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_a_rate_that_machines_have(dtype: torch.dtype) -> None:
    assert 1e7 < peak_flops(dtype, size=64, seconds=0.01) < 1e16


def test_measuring_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    peak_flops(size=8, seconds=0.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_may_be_kept_twice() -> None:
    keep_freed_memory()
    keep_freed_memory()
    assert float(torch.ones(3_000_000).sum()) == 3_000_000
