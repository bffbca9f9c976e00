"""How sure a value is. In: statistics of examples. Out: an interval; for two systems, a difference and p-values.

Bootstrap (Efron 1979): examples are drawn with replacement, as many as there are, and the value is computed from their sums.
Paired bootstrap (Koehn 2004): both systems on the same draws; p is the share of draws in which the better one does not win.
Approximate randomisation (Riezler & Maxwell 2005): each example's two results change places with probability ½; p is the share of
shuffles whose difference is at least as large as the one found, in either direction. Both shares count what was found as one draw
more, so that no p is 0. Draws depend on (seed, purpose) alone: both systems of a pair, and all metrics, get the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from .metrics import Floats, Metric

NUM_RESAMPLES: Final = 1000
NUM_SHUFFLES: Final = 10_000
CHUNK: Final = 2**22  # numbers drawn at once
DRAWS, SWAPS = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two systems on the same examples. difference: second less first; low, high: its 95 % interval."""

    difference: float
    low: float
    high: float
    bootstrap_p: float
    randomisation_p: float


def interval(
    metric: Metric, statistics: Floats, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a value: the 2.5th and 97.5th percentile over resamples. statistics: a row for each example."""
    return _percentiles(metric.value(bootstrap_sums(statistics, num_resamples, seed), len(statistics)))


def bootstrap_sums(statistics: Floats, num_resamples: int, seed: int) -> Floats:
    """The sums of the statistics over each resample, a row for each."""
    num_examples = len(statistics)
    parts = []
    for generator, size in _chunks(DRAWS, num_resamples, num_examples, seed):
        drawn = generator.integers(num_examples, size=(size, num_examples))
        drawn += num_examples * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * num_examples).reshape(size, num_examples)
        parts.append(times.astype(np.float64) @ statistics)
    return np.concatenate(parts)


def paired(
    metric: Metric,
    first: Floats,
    second: Floats,
    *,
    num_resamples: int = NUM_RESAMPLES,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
) -> Paired:
    """Is the second system better or worse than the first? first, second: statistics, row for row of the same examples."""
    num_examples = len(first)

    def differences(of_first: Floats, of_second: Floats) -> Floats:
        return metric.value(of_second, num_examples) - metric.value(of_first, num_examples)

    found = float(differences(first.sum(axis=0), second.sum(axis=0)))
    resampled = differences(*(bootstrap_sums(side, num_resamples, seed) for side in (first, second)))
    moved = _swapped_sums(second - first, num_shuffles, seed)
    shuffled = differences(first.sum(axis=0) + moved, second.sum(axis=0) - moved)
    low, high = _percentiles(resampled)
    # Sums in another order differ in their last bits: what is equal to what was found must count as equal.
    is_large = np.abs(shuffled) >= abs(found) - 1e-9
    loses = np.sign(found) * resampled <= 1e-9 if found else np.ones(num_resamples, dtype=bool)
    return Paired(
        difference=found, low=low, high=high, bootstrap_p=_share(loses), randomisation_p=_share(is_large)
    )  # fmt: skip


def _swapped_sums(gaps: Floats, num_shuffles: int, seed: int) -> Floats:
    """For each shuffle, the sum of the gaps of the examples that changed places."""
    parts = []
    for generator, size in _chunks(SWAPS, num_shuffles, len(gaps), seed):
        parts.append(generator.integers(2, size=(size, len(gaps)), dtype=np.int8).astype(np.float64) @ gaps)
    return np.concatenate(parts)


def _chunks(purpose: int, num_draws: int, num_examples: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Draws in parts that fit into memory, each with a generator of its own."""
    most = max(1, CHUNK // num_examples)
    for number, start in enumerate(range(0, num_draws, most)):
        yield np.random.default_rng([seed, purpose, number]), min(most, num_draws - start)


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _share(holds: np.typing.NDArray[np.bool_]) -> float:
    return float((np.count_nonzero(holds) + 1) / (len(holds) + 1))
