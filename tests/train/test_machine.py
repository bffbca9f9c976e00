"""What the machine can do: a rate of the right size."""

from __future__ import annotations

import pytest
import torch

from cutaway.train.machine import peak_flops


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_a_rate_that_machines_have(dtype: torch.dtype) -> None:
    assert 1e7 < peak_flops(dtype, size=64, seconds=0.01) < 1e16


def test_measuring_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    peak_flops(size=8, seconds=0.0)
    assert torch.equal(torch.get_rng_state(), before)
