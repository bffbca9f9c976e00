"""When a question has no answer. In: answers to held-out questions, and what people marked. Out: a threshold and a temperature.

    p(no answer) = sigmoid((gap − threshold) / temperature)      gap = score of "no answer" − score of the best span

The threshold is that of the best F1, as the script of SQuAD 2.0 finds it (Rajpurkar et al. 2018): "no answer" where the gap is
above it. The temperature makes the probability honest: of all, it has the least −Σ log p of what is so (Guo et al. 2017 §4.2).
Both lie beside the weights in `answer.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ...data import Question
from ...errors import CutawayError
from ...strict import build
from ...weights.atomic import write_file
from ...weights.files import read_json
from ..metrics.answers import f1
from .found import Answers

FILE: Final = "answer.json"
LEAST, MOST = 1e-2, 1e2
"""Of a temperature: beyond, every probability is 0 or 1, or every one is a half."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """When there is no answer. num_questions, data: what it was found on, and f1: the best F1 there, in per cent."""

    threshold: float = 0.0
    temperature: float = 1.0
    f1: float = 0.0
    num_questions: int = 0
    data: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold) or not 0 < self.temperature < math.inf:
            raise CutawayError(
                f"The threshold is {self.threshold} and its temperature {self.temperature}. Both must be finite, the second "
                "above 0: find them again."
            )

    def no_answer(self, gap: float) -> float:
        """The probability that there is no answer."""
        return _sigmoid((gap - self.threshold) / self.temperature)


def find_threshold(questions: Sequence[Question], found: Sequence[Answers], data: str = "") -> Threshold:
    """The threshold of the best F1, and its temperature. found: a model's answers to the questions, with gaps.

    data: the name of what the questions come from. Raises CutawayError for no question, and for answers that were written.
    """
    if not found or any(answers.gap is None or not answers.answers for answers in found):
        raise CutawayError(
            "A threshold is found on one or more questions, by a model that marks spans. Name such a one."
        )
    gaps = np.array([answers.gap for answers in found], dtype=np.float64)
    has_none = np.array([not question.answers for question in questions])
    gains = [
        -1.0 if not question.answers else f1(answers.answers[0].text, [answer.text for answer in question.answers])
        for question, answers in zip(questions, found, strict=True)
    ]
    threshold, gain = _best(gaps, np.array(gains))
    best = 100 * (float(has_none.sum()) + gain) / len(gaps)
    temperature = _temperature(gaps - threshold, has_none)
    return Threshold(threshold=threshold, temperature=temperature, f1=best, num_questions=len(gaps), data=data)


def load_threshold(place: Path | None) -> Threshold:
    """What lies beside the weights; 0 and 1 where nothing does. Raises CutawayError for a file that is something else."""
    if place is None or not (place / FILE).is_file():
        return Threshold()
    try:
        return build(Threshold, read_json(place / FILE))
    except CutawayError as error:
        raise CutawayError(f"{place / FILE} holds no threshold: {error} Find it again, or delete the file.") from error


def save_threshold(place: Path, threshold: Threshold) -> None:
    """Write or replace the file beside the weights. Raises CutawayError if the system refuses, or there is no directory."""
    if not place.is_dir():
        raise CutawayError(
            f"{place} is no directory of a checkpoint, so a threshold cannot be kept beside its weights."
        )
    write_file(place / FILE, (json.dumps(asdict(threshold), indent=2) + "\n").encode())


def _best(gaps: npt.NDArray[np.float64], gains: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The threshold with the largest gain over answering nothing, and that gain. Of equal ones the lowest counts.

    gains: what each question gives if it is answered, more than if not. Questions of one gap are answered together.
    """
    order = np.argsort(gaps, kind="stable")
    totals = np.cumsum(gains[order])
    is_last = np.append(np.diff(gaps[order]) > 0, True)
    places = np.flatnonzero(is_last)
    best = places[int(np.argmax(totals[places]))]
    if totals[best] <= 0:
        return float(gaps[order[0]]) - 1.0, 0.0
    return float(gaps[order[best]]), float(totals[best])


def _temperature(margins: npt.NDArray[np.float64], has_none: npt.NDArray[np.bool_]) -> float:
    """Where the slope of the loss in 1 / temperature is 0: the loss is convex there, so halving finds it."""
    low, high = 1 / MOST, 1 / LEAST
    for _ in range(60):
        middle = math.sqrt(low * high)
        chances = np.array([_sigmoid(margin * middle) for margin in margins])
        if float(((chances - has_none) * margins).sum()) < 0:
            low = middle
        else:
            high = middle
    return 1 / math.sqrt(low * high)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
