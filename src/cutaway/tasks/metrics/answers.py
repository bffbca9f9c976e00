"""Exact match and F1 of answers (Rajpurkar et al. 2016 §6.1; 2018 for questions without an answer), and accuracy.

    F1 = 2 · common words / (words of the prediction + words of the reference)

Both sides are first put into lower case and rid of ASCII punctuation, of a, an and the, and of white space beyond one space. Of
several references the best counts. A question without an answer has no references, or none with a word: only an empty
prediction is right then. The script of SQuAD 1.1 differs where a reference has no word at all, which its data never has.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

from .metric import Example, Family, Measured, column, mean

ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """The form in which answers are compared."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1.0 if the prediction is one of the references, both normalised, else 0.0."""
    return float(normalise(prediction) in _answers(references))


def f1(prediction: str, references: Sequence[str]) -> float:
    """The largest F1 of words over the references, from 0 to 1."""
    return max(_overlap(normalise(prediction).split(), answer.split()) for answer in _answers(references))


def _answers(references: Sequence[str]) -> list[str]:
    return [answer for answer in map(normalise, references) if answer] or [""]


def _overlap(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    num_common = (Counter(ours) & Counter(theirs)).total()
    return 2.0 * num_common / (len(ours) + len(theirs))


def _measure_squad(examples: Sequence[Example], _: str) -> Measured:
    scores = {
        function.__name__: column([function(example.prediction, example.references) for example in examples])
        for function in (exact_match, f1)
    }
    return Measured("squad:2.0|refs:best", scores)


def _measure_accuracy(examples: Sequence[Example], _: str) -> Measured:
    scores = [float(example.prediction in example.references) for example in examples]
    return Measured("equal:exactly|refs:any", {"accuracy": column(scores)})


SQUAD: Final = Family(
    name="squad", metrics=(mean("exact_match"), mean("f1")), measure=_measure_squad, needs_reference=False
)
ACCURACY: Final = Family(name="accuracy", metrics=(mean("accuracy"),), measure=_measure_accuracy)
