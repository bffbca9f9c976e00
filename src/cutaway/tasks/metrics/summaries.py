"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004). In: examples. Out: F of each, the best over the references, by rouge-score.

Words are what stands between other signs than a to z and 0 to 9, in lower case, stemmed: ROUGE as it was made, for English.
Of several references, each of the three takes the one with the largest F; `rouge:joint` takes all three from the one with the
largest ROUGE-1, of equal ones the first, as the authors of SciTLDR do (Cachola et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .metric import Example, Family, Measured, column, mean
from .packages import rouge_scorer

NAMES: Final = ("rouge1", "rouge2", "rougeL")


def _measure(examples: Sequence[Example], option: str) -> Measured:
    scorer, version = rouge_scorer(list(NAMES))
    best = _joint if option else _each
    found = [best(scorer, example) for example in examples]
    signature = f"rouge-score:{version}|stem:porter|refs:{'rouge1' if option else 'best'}"
    return Measured(signature, {name: column([scores[name].fmeasure for scores in found]) for name in NAMES})


def _each(scorer: Any, example: Example) -> Any:
    return scorer.score_multi(list(example.references), example.prediction)


def _joint(scorer: Any, example: Example) -> Any:
    found = [scorer.score(reference, example.prediction) for reference in example.references]
    return max(found, key=lambda scores: scores[NAMES[0]].fmeasure)


ROUGE: Final = Family(
    name="rouge",
    metrics=tuple(mean(name) for name in NAMES),
    measure=_measure,
    options=("", "joint"),
    require=lambda: rouge_scorer(list(NAMES)),
)
