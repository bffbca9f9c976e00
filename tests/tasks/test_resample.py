"""Intervals and p-values: against exact distributions, which small cases have, and on data made to be equal or unequal."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from cutaway.tasks import resample
from cutaway.tasks.metrics import METRICS, Floats
from cutaway.tasks.metrics.metric import column
from cutaway.tasks.resample import bootstrap_sums, interval, paired

ACCURACY = METRICS["accuracy"]


def binomial_quantile(num: int, chance: float, level: float) -> int:
    """The smallest number of successes that `level` of the distribution does not exceed."""
    total = 0.0
    for successes in range(num + 1):
        total += comb(num, successes) * chance**successes * (1 - chance) ** (num - successes)
        if total >= level:
            return successes
    return num


@pytest.mark.parametrize(("num", "right"), [(50, 30), (200, 20), (1000, 500)])
def test_the_interval_of_an_accuracy_is_that_of_the_binomial(num: int, right: int) -> None:
    """A resample's number of right answers is Binomial(num, right / num); its percentiles are known."""
    low, high = interval(ACCURACY, column([1.0] * right + [0.0] * (num - right)), num_resamples=40_000)
    for found, level in ((low, 0.025), (high, 0.975)):
        near = [100 * binomial_quantile(num, right / num, level + shift) / num for shift in (-0.003, 0.003)]
        assert near[0] - 1e-9 <= found <= near[1] + 1e-9


def test_every_resample_has_as_many_examples() -> None:
    rows = np.column_stack([np.ones(37), np.arange(37.0)])
    sums = bootstrap_sums(rows, 500, seed=3)
    assert set(sums[:, 0].tolist()) == {37.0}
    standard = 37 * np.arange(37.0).std() / np.sqrt(37)
    assert sums[:, 1].std() == pytest.approx(standard, rel=0.1)
    assert abs(sums[:, 1].mean() - 666) < 4 * standard / np.sqrt(500)


def test_draws_depend_on_the_seed_alone() -> None:
    rows, other = np.arange(20.0)[:, None], np.arange(20.0)[:, None] ** 2
    assert bootstrap_sums(rows, 50, seed=1).tolist() == bootstrap_sums(rows, 50, seed=1).tolist()
    assert bootstrap_sums(rows, 50, seed=1).tolist() != bootstrap_sums(rows, 50, seed=2).tolist()
    both = bootstrap_sums(np.hstack([rows, other]), 50, seed=1)
    assert both[:, 1:].tolist() == bootstrap_sums(other, 50, seed=1).tolist(), "two systems get the same draws"


def test_parts_that_fit_into_memory_are_enough_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "CHUNK", 64)
    sums = bootstrap_sums(np.column_stack([np.ones(20), np.arange(20.0)]), 50, seed=0)
    assert sums.shape == (50, 2)
    assert len(set(sums[:, 1].tolist())) > 25, "no part repeats another"


FIRST, SECOND = [0.1, 0.9, 0.4, 0.5, 0.2], [0.3, 0.7, 0.9, 0.6, 0.5]


def test_the_paired_bootstrap_is_every_draw_counted() -> None:
    gaps = np.array(SECOND) - np.array(FIRST)
    draws = np.array(list(product(range(5), repeat=5)))
    exact = np.mean(gaps[draws].sum(axis=1) <= 1e-12)
    num = 40_000
    found = paired(ACCURACY, column(FIRST), column(SECOND), num_resamples=num, num_shuffles=10).bootstrap_p
    assert 0.005 < exact < 0.2
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / num))


def test_the_randomisation_is_every_shuffle_counted() -> None:
    gaps = np.array(SECOND) - np.array(FIRST)
    signs = np.array(list(product((-1, 1), repeat=5)))
    exact = np.mean(np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12)
    num = 40_000
    found = paired(ACCURACY, column(FIRST), column(SECOND), num_resamples=10, num_shuffles=num).randomisation_p
    assert 0.05 < exact < 0.5
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / num))


def test_a_system_that_is_always_better_is_better() -> None:
    first = column(np.linspace(0, 0.5, 40).tolist())
    found = paired(ACCURACY, first, first + 0.25)
    assert found.difference == pytest.approx(25)
    assert (found.low, found.high) == (pytest.approx(25), pytest.approx(25))
    assert found.bootstrap_p == pytest.approx(1 / 1001)
    assert found.randomisation_p == pytest.approx(1 / 10_001)
    turned = paired(ACCURACY, first + 0.25, first)
    assert turned.difference == pytest.approx(-25)
    assert (turned.bootstrap_p, turned.randomisation_p) == (found.bootstrap_p, found.randomisation_p)


def test_equal_systems_are_equal() -> None:
    rows = column([0.1, 0.5, 0.7])
    found = paired(ACCURACY, rows, rows)
    assert (found.difference, found.low, found.high, found.bootstrap_p, found.randomisation_p) == (0, 0, 0, 1, 1)


def test_systems_that_differ_by_chance_are_seldom_called_different() -> None:
    """Of 200 pairs without a difference, about one in twenty has p below 0.05."""
    generator = np.random.default_rng(0)

    def p_values(pair: Floats) -> tuple[float, float]:
        found = paired(ACCURACY, pair[0][:, None], pair[1][:, None], num_resamples=400, num_shuffles=400)
        return found.randomisation_p, found.bootstrap_p

    found = np.array([p_values(generator.random((2, 60))) for _ in range(200)])
    assert 0.02 < np.mean(found[:, 0] < 0.05) < 0.09
    assert 0.05 < np.mean(found[:, 1] < 0.05) < 0.16, "one-sided, towards the better one: twice as often"
