"""How good predictions are. In: examples (source, prediction, references). Out: for each example, numbers that can be summed.

A metric of many examples is a formula of the sums of what each example gives: for a mean the scores themselves, for BLEU counts
of n-grams. So one bootstrap and one significance test (`tasks.resample`) serve them all. All values run from 0 to 100,
but for bits per byte.
"""

from .correlation import SPEARMAN, ranks
from .families import FAMILIES, METRICS, find_families
from .likelihood import BITS_PER_BYTE
from .metric import Example, Family, Floats, Measured, Metric

__all__ = [
    "BITS_PER_BYTE",
    "FAMILIES",
    "METRICS",
    "SPEARMAN",
    "Example",
    "Family",
    "Floats",
    "Measured",
    "Metric",
    "find_families",
    "ranks",
]
