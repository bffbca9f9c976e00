"""How well a model predicts what the assistant says. In: a model and dialogues. Out: a `Report` in bits per byte.

    bits per byte = Σ −log₂ p(reply, and the token that ends it | all that was said before) / Σ UTF-8 bytes of the replies

One example is one reply. Of what was said before, the end is read where all of it is more than the model's context.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dialogues import Dialogue, encode_dialogue, read_dialogues
from ..data.sources import Source
from ..errors import CutawayError
from ..lm import LM
from .chat import check, template_of
from .evaluate import Evaluation, Sizes, evaluation
from .metrics import BITS_PER_BYTE, Measured
from .report import Report, make_report
from .score import fit, score_ids

AT_ONCE = 128  # replies
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One reply. before, after: the ids that lead to it, and its own. asked, said: the message before it, and its text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    asked: str
    said: str


def evaluate_replies(lm: LM, path: Path, *, progress: Progress | None = None) -> Report:
    """How likely each reply of the assistant is. progress: is told what is done and how much there is.

    Raises CutawayError as `read_dialogues` and `encode_dialogue`, and for a model that holds no conversation.
    """
    began = time.perf_counter()
    found = list(_scored(lm, path, progress))
    rows = [(nats, len(each.said.encode())) for each, nats in found]
    return make_report(
        task="chat",
        model=lm.name,
        data=path,
        examples=[(each.asked, "", [each.said]) for each, _ in found],
        metric=Measured("of:replies|given:all before", {BITS_PER_BYTE.name: np.array(rows, dtype=np.float64)}),
        seconds=time.perf_counter() - began,
    )


def predict_replies(lm: LM, path: Path, *, progress: Progress | None = None) -> Evaluation:
    """All replies together, as `evaluate` says it of a text. Arguments and errors as `evaluate_replies`."""
    sizes, nats, tokens = Sizes(), 0.0, 0
    for each, of_reply in _scored(lm, path, progress):
        nats, tokens = nats + of_reply, tokens + len(each.after)
        sizes.count(each.said)
    return evaluation(nats, tokens, sizes.bytes, sizes)


def _scored(lm: LM, path: Path, progress: Progress | None) -> Iterator[tuple[_Asked, float]]:
    """Each reply, and its nats."""
    check(lm)
    replies = [each for dialogue in read_dialogues(Source(files=str(path))) for each in _replies(lm, dialogue)]
    if not replies:
        raise CutawayError(f"There is no dialogue in {path}: nothing to measure.")
    for start in range(0, len(replies), AT_ONCE):
        part = replies[start : start + AT_ONCE]
        found = score_ids(lm.model, [fit(each.before, each.after, lm.config.context) for each in part])
        yield from ((each, -one.log_p) for one, each in zip(found, part, strict=True))
        if progress is not None:
            progress(min(start + AT_ONCE, len(replies)), len(replies))


def _replies(lm: LM, dialogue: Dialogue) -> Iterator[_Asked]:
    """Every reply of one dialogue that says something."""
    ids, weights = encode_dialogue(dialogue, lm.tokenizer, template_of(lm))
    edges = np.flatnonzero(np.diff(weights, prepend=0, append=0)).reshape(-1, 2).tolist()
    places = [place for place, message in enumerate(dialogue.messages) if message["role"] == "assistant"]
    for (start, stop), place in zip(edges, places, strict=True):
        asked = dialogue.messages[place - 1]["content"] if place else ""
        said = dialogue.messages[place]["content"]
        if said.strip():
            yield _Asked(tuple(ids[:start].tolist()), tuple(ids[start:stop].tolist()), asked, said)
