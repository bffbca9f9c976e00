"""BLEU (Papineni et al. 2002) and chrF (Popović 2015). In: examples. Out: counts of n-grams by sacrebleu (Post 2018).

    BLEU = min(1, exp(1 − r / s)) · (p₁ p₂ p₃ p₄)^¼,   the first order without a match having ½ of one, the next ¼ …
    chrF = 5 P R / (4 P + R),   P and R being means over the orders 1 to 6 of characters that occur on both sides

sacrebleu cuts and counts; the formulas stand here, over any number of sums at once, and equal sacrebleu's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from .metric import Example, Family, Floats, Measured, Metric
from .packages import sacrebleu_metrics

WORD_ORDERS: Final = 4
CHARACTER_ORDERS: Final = 6
FORWARD: Final = 4.0  # β² of chrF: recall counts twice as much as precision


def bleu(sums: Floats, num_examples: int = 1) -> Floats:  # noqa: ARG001 (a metric's formula; counts need no number)
    """Length of the predictions, of the references, matches of four orders, n-grams of four orders -> 0 to 100."""
    logs = _log_precisions(sums)
    return _penalised(sums, logs.mean(axis=-1))


def sentence_bleu(sums: Floats) -> Floats:
    """The same over the orders that a short text has at all."""
    logs = _log_precisions(sums)
    has = sums[..., 2 + WORD_ORDERS :] > 0
    total = np.where(has, logs, 0.0).sum(axis=-1)
    return _penalised(sums, total / np.maximum(has.sum(axis=-1), 1))


def chrf(sums: Floats, num_examples: int = 1) -> Floats:  # noqa: ARG001 (a metric's formula; counts need no number)
    """For each order n-grams of the predictions, of the references, and matches -> 0 to 100."""
    ours, theirs, matches = np.moveaxis(sums.reshape(*sums.shape[:-1], CHARACTER_ORDERS, 3), -1, 0)
    counts = (ours > 0) & (theirs > 0)
    num_orders = np.maximum(counts.sum(axis=-1), 1)
    precision = np.where(counts, matches / np.maximum(ours, 1), 0.0).sum(axis=-1) / num_orders
    recall = np.where(counts, matches / np.maximum(theirs, 1), 0.0).sum(axis=-1) / num_orders
    bottom = FORWARD * precision + recall
    share: Floats = (1 + FORWARD) * precision * recall / np.where(bottom > 0, bottom, 1.0)
    return 100.0 * share


def _log_precisions(sums: Floats) -> Floats:
    """One logarithm for each order; −∞ for an order without n-grams."""
    matches, totals = sums[..., 2 : 2 + WORD_ORDERS], sums[..., 2 + WORD_ORDERS :]
    halvings = np.cumsum((matches == 0) & (totals > 0), axis=-1)
    smoothed = np.where(matches > 0, matches, 0.5**halvings)
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(np.where(totals > 0, smoothed / np.maximum(totals, 1), 0.0))
    return logs


def _penalised(sums: Floats, log_precision: Floats) -> Floats:
    length, wanted, has_match = sums[..., 0], sums[..., 1], sums[..., 2 : 2 + WORD_ORDERS].any(axis=-1)
    penalty = np.minimum(0.0, 1.0 - wanted / np.maximum(length, 1))
    value: Floats = np.where(has_match, 100.0 * np.exp(log_precision + penalty), 0.0)
    return value


def _measure_bleu(examples: Sequence[Example], tokenizer: str) -> Measured:
    return _counted("bleu", sacrebleu_metrics().BLEU(tokenize=tokenizer, force=True), examples)


def _measure_chrf(examples: Sequence[Example], _: str) -> Measured:
    return _counted("chrf", sacrebleu_metrics().CHRF(), examples)


def _counted(name: str, metric: Any, examples: Sequence[Example]) -> Measured:
    """What sacrebleu counts in each example: the numbers that its own significance tests sum."""
    streams = list(zip_longest(*(example.references for example in examples)))  # None where there are fewer
    counts = metric._extract_corpus_statistics([example.prediction for example in examples], streams)
    return Measured(metric.get_signature().format(), {name: np.array(counts, dtype=np.float64)})


BLEU: Final = Family(
    name="bleu",
    metrics=(Metric(name="bleu", num_statistics=2 + 2 * WORD_ORDERS, value=bleu, of_one=sentence_bleu),),
    measure=_measure_bleu,
    options=("13a", "intl", "zh", "char", "none"),
    require=sacrebleu_metrics,
)
CHRF: Final = Family(
    name="chrf",
    metrics=(Metric(name="chrf", num_statistics=3 * CHARACTER_ORDERS, value=chrf, of_one=chrf),),
    measure=_measure_chrf,
    require=sacrebleu_metrics,
)
