"""Answers to questions on a context. In: a model, a question, a context. Out: answers with their probabilities and their places.

ask (any model) · found (what an answer is) · mark (spans, by an encoder with labels) · write (texts, by a model that generates) ·
threshold (when there is no answer) · evaluate (how good the answers to a file of questions are).
"""

from .ask import Asking, answer, answer_all
from .evaluate import evaluate_answers, threshold_on
from .found import Answer, Answers
from .threshold import Threshold, find_threshold, load_threshold, save_threshold

__all__ = [
    "Answer",
    "Answers",
    "Asking",
    "Threshold",
    "answer",
    "answer_all",
    "evaluate_answers",
    "find_threshold",
    "load_threshold",
    "save_threshold",
    "threshold_on",
]
