"""Do two orders agree? In: two rankings of the same examples. Out: Spearman's ρ (1904), times 100.

ρ = cov(a, b) / √(var(a) · var(b))     of ranks a, b from 0 to 1, computed from Σa, Σb, Σa², Σb², Σab
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .metric import Floats, Metric


def ranks(values: Floats) -> Floats:
    """The rank of each value, from 0 for the smallest to 1; equal values have the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    found: Floats = (last - (counts - 1) / 2)[group] / max(len(values) - 1, 1)
    return found


def _value(sums: Floats, num_examples: int) -> Floats:
    a, b, aa, bb, ab = np.moveaxis(sums / max(num_examples, 1), -1, 0)
    spread = np.sqrt(np.clip(aa - a * a, 0, None) * np.clip(bb - b * b, 0, None))
    found: Floats = 100.0 * (ab - a * b) / np.where(spread > 0, spread, np.inf)
    return found


def _of_one(rows: Floats) -> Floats:
    """How near the two ranks of an example are: 100 where they are equal."""
    _, _, aa, bb, ab = np.moveaxis(rows, -1, 0)
    found: Floats = 100.0 * (1.0 - np.sqrt(np.clip(aa + bb - 2.0 * ab, 0.0, None)))
    return found


SPEARMAN: Final = Metric(name="spearman", num_statistics=5, value=_value, of_one=_of_one)
