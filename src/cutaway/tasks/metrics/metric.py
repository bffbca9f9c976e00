"""What a metric is. In: sums over examples. Out: a value, from 0 to 100 where texts are compared; means are the simplest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One thing that a model did. references: what would have been right; any of them counts."""

    source: str
    prediction: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A formula over sums.

    value: sums of statistics, any leading axes and then one for each statistic, and the number of examples summed -> a value
    for each. of_one: the same for single examples, by which they are ranked. is_loss: the lower the better; it says how likely
    the references are, and there are no predictions.
    """

    name: str
    num_statistics: int
    value: Callable[[Floats, int], Floats]
    of_one: Callable[[Floats], Floats]
    is_loss: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What examples gave. statistics: by metric, a row for each example. signature: how they were measured, to the version."""

    signature: str
    statistics: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Metrics that are measured together. options: what may stand behind a colon in its name (`bleu:zh`); the first is usual.

    require: imports what it measures with, or raises CutawayError.
    """

    name: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Sequence[Example], str], Measured]
    options: tuple[str, ...] = ("",)
    needs_reference: bool = True
    require: Callable[[], object] = lambda: None


def mean(name: str) -> Metric:
    """A metric that is the mean of scores from 0 to 1, times 100."""
    return Metric(name=name, num_statistics=1, value=_mean, of_one=lambda statistics: _mean(statistics, 1))


def column(scores: Sequence[float]) -> Floats:
    """Scores as the one statistic of a mean: a row for each example."""
    return np.array(scores, dtype=np.float64).reshape(-1, 1)


def _mean(sums: Floats, num_examples: int) -> Floats:
    return 100.0 * sums[..., 0] / num_examples
