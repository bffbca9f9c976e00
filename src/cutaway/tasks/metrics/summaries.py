"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004). In: examples. Out: F of each, the best over the references, by rouge-score.

Words are what stands between other signs than a to z and 0 to 9, in lower case, stemmed: ROUGE as it was made, for English.
Of several references, each of the three takes the one with the largest F.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .metric import Example, Family, Measured, column, mean
from .packages import rouge_scorer

NAMES: Final = ("rouge1", "rouge2", "rougeL")


def _measure(examples: Sequence[Example], _: str) -> Measured:
    scorer, version = rouge_scorer(list(NAMES))
    found = [scorer.score_multi(list(example.references), example.prediction) for example in examples]
    signature = f"rouge-score:{version}|stem:porter|refs:best"
    return Measured(signature, {name: column([scores[name].fmeasure for scores in found]) for name in NAMES})


ROUGE: Final = Family(name="rouge", metrics=tuple(mean(name) for name in NAMES), measure=_measure)
