"""Spans of a context, by an encoder that scores where an answer begins and ends. In: questions. Out: the best spans of each.

A long context is read in windows; of a span that several hold, the best score counts. "No answer" scores what cls does in the
window that believes in it least, as in the published scripts (Devlin et al. 2019 §4.3). A span's share of what is left beside "no
answer" is its part of a softmax over every span of the context.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor

from ...config import ModelConfig
from ...data import Cutter, Question, Window, collate
from ...data.question_windows import CLS
from ...decode import best_spans, span_scores
from ...errors import CutawayError
from ...lm import LM
from ...objectives import spans
from ...train.question_feed import SPAN_LABELS
from ...train.step import predict
from .found import Answer, Answers
from .threshold import Threshold

MOST_LENGTH, MOST_STRIDE, MOST_QUESTION = 384, 128, 64
"""Of a window, as Devlin et al. 2019 have them; less where a model reads less."""

Logits = list[tuple[Window, Tensor, float]]


@torch.inference_mode()
def mark(
    lm: LM,
    questions: Sequence[Question],
    *,
    num: int,
    max_tokens: int,
    batch_size: int,
    threshold: Threshold,
    progress: Callable[[int, int], None] | None,
) -> list[Answers]:
    """The `num` best spans of at most `max_tokens` tokens for each question. Raises CutawayError for a context without tokens."""
    assert lm.config.num_labels == SPAN_LABELS, "asked of a model that marks"
    cutter = make_cutter(lm)
    windows = list(cutter.windows(questions))
    order = sorted(range(len(windows)), key=lambda index: windows[index].num_tokens)
    pad_id = lm.tokenizer.roles.pad if lm.tokenizer.roles.pad is not None else cutter.frame.before[0]
    of_question: dict[int, Logits] = defaultdict(list)
    for start in range(0, len(order), batch_size):
        batch = [windows[index] for index in order[start : start + batch_size]]
        logits = predict(lm.model, spans(collate(batch, cutter, pad_id))).float()
        for window, row in zip(batch, logits, strict=True):
            context = row[:, window.first : window.first + window.stop - window.start].clone()
            of_question[window.number].append((window, context, float(row[:, CLS].sum())))
        if progress is not None:
            progress(min(start + batch_size, len(order)), len(order))
    return [
        _answers(question, of_question[number], num, max_tokens, threshold) for number, question in enumerate(questions)
    ]


def make_cutter(lm: LM) -> Cutter:
    """Windows as Devlin et al. 2019 have them, smaller where the model reads less at once."""
    length = min(MOST_LENGTH, _context(lm.config))
    max_question = max(1, min(MOST_QUESTION, length // 3))
    room = length - lm.tokenizer.pair_frame.num_tokens - max_question
    return Cutter(
        lm.tokenizer, lm.config, length=length, stride=max(1, min(MOST_STRIDE, room // 2)), max_question=max_question
    )


def _context(config: ModelConfig) -> int:
    return config.context if config.main.position.is_table else MOST_LENGTH


def _answers(question: Question, logits: Logits, num: int, max_tokens: int, threshold: Threshold) -> Answers:
    passage = logits[0][0].passage
    scores = torch.full((len(passage.ids), max_tokens), -torch.inf)
    for window, (begins, ends), _ in logits:
        part = scores[window.start : window.stop]
        torch.maximum(part, span_scores(begins, ends, max_tokens), out=part)
    null = min(score for _, _, score in logits)
    gap = null - float(scores.max())
    none = threshold.no_answer(gap)
    total = float(scores.double().flatten().logsumexp(0))
    found: dict[tuple[int, int], float] = {}
    for first, last, score in best_spans(scores):
        place = int(passage.begins[first]), int(passage.ends[last])
        if place[0] < place[1]:
            found.setdefault(place, score)
        if len(found) == num:
            break
    if not found:
        raise CutawayError(
            f"The context of {question.place} holds no text that could answer: '{question.context:.40}'."
        )
    return Answers(
        question=question.text,
        context=question.context,
        answers=tuple(
            _answer(question.context, place, score, none, total) for place, score in islice(found.items(), num)
        ),
        no_answer=none,
        gap=gap,
    )


def _answer(context: str, place: tuple[int, int], score: float, none: float, total: float) -> Answer:
    share = (1 - none) * math.exp(score - total)
    return Answer(text=context[place[0] : place[1]], begin=place[0], end=place[1], score=score, probability=share)
