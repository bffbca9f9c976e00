"""Exact match, F1 and threshold of the two published scripts of SQuAD, word by word. In: answers and references. Out: 0 to 1.

1.1 (Rajpurkar et al. 2016): the maximum over the references, all kept. 2.0 (Rajpurkar et al. 2018): references without a word are
left out, none left is one empty reference, and where either side has no word, F1 is whether both have none.
"""

from __future__ import annotations

import re
import string
from collections import Counter


def normalised(text: str) -> str:
    """Lower case, then no punctuation, then no articles, then single spaces."""
    lower = text.lower()
    bare = "".join(character for character in lower if character not in set(string.punctuation))
    without = re.sub(r"\b(a|an|the)\b", " ", bare)
    return " ".join(without.split())


def harmonic(prediction: list[str], reference: list[str]) -> float:
    """2 · P · R / (P + R), from the words that both have."""
    num_same = sum((Counter(prediction) & Counter(reference)).values())
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(prediction), num_same / len(reference)
    return 2 * precision * recall / (precision + recall)


def scores_1_1(prediction: str, references: list[str]) -> tuple[float, float]:
    """Exact match and F1 as of 1.1."""
    matches = [float(normalised(prediction) == normalised(reference)) for reference in references]
    overlaps = [harmonic(normalised(prediction).split(), normalised(reference).split()) for reference in references]
    return max(matches), max(overlaps)


def scores_2_0(prediction: str, references: list[str]) -> tuple[float, float]:
    """Exact match and F1 as of 2.0."""
    kept = [reference for reference in references if normalised(reference)]
    if not kept:
        kept = [""]
    matches = [float(int(normalised(prediction) == normalised(reference))) for reference in kept]
    overlaps = []
    for reference in kept:
        ours, theirs = normalised(prediction).split(), normalised(reference).split()
        is_empty = len(ours) == 0 or len(theirs) == 0
        overlaps.append(float(int(ours == theirs)) if is_empty else harmonic(ours, theirs))
    return max(matches), max(overlaps)


def best_threshold(gaps: list[float], scores: list[float], has_answer: list[bool]) -> tuple[float, float]:
    """As of 2.0: the threshold above which nothing is answered, and the mean score there; no two gaps are alike.

    scores: of each question if it is answered. It starts with nothing answered, and goes through the questions by their gaps.
    """
    current = best = float(sum(not each for each in has_answer))
    threshold = 0.0
    for index in sorted(range(len(gaps)), key=lambda each: gaps[each]):
        current += scores[index] if has_answer[index] else -1
        if current > best:
            best, threshold = current, gaps[index]
    return threshold, best / len(gaps)
