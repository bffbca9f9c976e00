"""What the machine can do: a rate of the right size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.runtime import roofline
from cutaway.runtime.roofline import Machine, fastest, measure_machine, peak_flops, read_bandwidth


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_a_rate_that_machines_have(dtype: torch.dtype) -> None:
    assert 1e7 < peak_flops(dtype, size=64, seconds=0.01) < 1e16


def test_measuring_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    peak_flops(size=8, seconds=0.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_bandwidth_is_one_that_machines_have() -> None:
    assert 1e7 < read_bandwidth(2**20, seconds=0.01) < 1e13


@pytest.mark.parametrize(
    ("cache", "free", "wanted"),
    [
        (None, None, 2**28),
        (2**25, 2**33, 2**28),
        (300 * 2**20, 2**34, 1200 * 2**20),
        (300 * 2**20, None, 1200 * 2**20),
        (300 * 2**20, 2**31, 2**29),
        (300 * 2**20, 2**20, 2**28),
    ],
)
def test_what_is_read_is_more_than_a_cache_holds(
    cache: int | None, free: int | None, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "largest_cache", lambda: cache)
    monkeypatch.setattr(roofline, "bytes_left", lambda: free)
    assert roofline.above_caches() == wanted
    made: list[int] = []
    monkeypatch.setattr(torch, "ones", lambda count: made.append(4 * count) or torch.zeros(1))  # type: ignore[func-returns-value]
    read_bandwidth(seconds=0.0)
    read_bandwidth(2**20, seconds=0.0)
    assert made == [wanted, 2**20]


def test_what_ends_first_is_the_limit() -> None:
    machine = Machine(read=10.0, peak=100.0, cache=None, cores=2, threads=2)
    assert machine.ridge() == 10.0
    assert machine.seconds(50.0, 20.0) == 2.0, "memory"
    assert machine.seconds(500.0, 20.0) == 5.0, "arithmetic"


def test_the_fastest_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 4.0, 5.0, 7.0, 7.5, 8.0, 9.0])
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(clock))
    assert fastest(lambda: None, seconds=8.0) == 0.5


def test_a_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "read_bandwidth", lambda **_: 2e9)
    found = measure_machine(seconds=0.0)
    assert (found.read, found.threads) == (2e9, torch.get_num_threads())
    assert found.cores >= 1
    assert found.cache is None or 2**14 < found.cache < 2**34


def test_vector_instructions_are_those_that_the_system_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(roofline, "PROCESSOR", told)
    assert roofline.instruction_sets() == ()
    told.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni avx512f sse\n\nflags\t: amx_int8\n", "utf-8")
    assert roofline.instruction_sets() == ("avx2", "avx512f", "avx512_vnni")
    told.write_text("Features\t: fp asimd i8mm\n", "utf-8")
    assert roofline.instruction_sets() == ("asimd", "i8mm")


def test_narrow_numbers_are_measured_where_they_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {torch.float32: 100.0, torch.bfloat16: 240.0, torch.int8: 20.0}
    monkeypatch.setattr(roofline, "read_bandwidth", lambda **_: 2e9)
    monkeypatch.setattr(roofline, "peak_flops", lambda dtype=torch.float32, **_: rates[dtype])
    found = measure_machine(seconds=0.0)
    assert (found.peak, dict(found.narrow)) == (100.0, {16: 240.0})
    assert [found.peak_of(bits) for bits in (32, 16, 8)] == [100.0, 240.0, 240.0]


def test_small_whole_numbers_have_a_peak_too() -> None:
    assert 1e5 < peak_flops(torch.int8, size=64, seconds=0.01) < 1e16
