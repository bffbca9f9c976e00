"""What a summary should beat, and what no extract can. In: a document. Out: its first sentences, or those that ROUGE likes best.

The first sentences of a piece of news are hard to beat. The oracle knows the reference: it takes, one after another, the sentence
that raises the mean of ROUGE-1 and ROUGE-2 most, until none raises it (Nallapati et al. 2017 §3, the greedy extract).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..errors import CutawayError
from .metrics.packages import rouge_scorer

NAMES: Final = ("rouge1", "rouge2")
# After a mark that ends a sentence, and what closes behind it; a Chinese or Japanese full stop needs no space.
ENDS: Final = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_a-zß-öø-ÿ])|(?<=[。！？])|\n+")


def sentences(text: str) -> list[str]:
    """A text in sentences, by marks and line breaks alone: "Mr. Smith" is cut after "Mr."; give a list where you have better."""
    return [text[begin:end] for begin, end in sentence_borders(text)]


def sentence_borders(text: str) -> list[tuple[int, int]]:
    """Where each of the `sentences` begins and ends in the text, white space around it left out."""
    found, start = [], 0
    for match in ENDS.finditer(text):
        closing = len(match[0]) - len(match[0].lstrip("\"'”’)]"))
        found.append((start, match.start() + closing))
        start = match.end()
    parts = [(begin, text[begin:end]) for begin, end in (*found, (start, len(text)))]
    starts = [(begin + len(part) - len(part.lstrip()), part.strip()) for begin, part in parts]
    return [(begin, begin + len(part)) for begin, part in starts if part]


def lead(document: str | Sequence[str], num_sentences: int = 3) -> str:
    """The first sentences of a document. document: a text, or its sentences. Raises CutawayError below one sentence."""
    return " ".join(_parts(document)[: _at_least_one(num_sentences)])


def oracle(document: str | Sequence[str], references: Sequence[str], num_sentences: int = 3) -> str:
    """The greedy extract, in the order of the document: at most so many sentences, empty where none has a word in common.

    document: a text, or its sentences. references: summaries by people; of several the best counts.
    Raises CutawayError below one sentence, and without a reference.
    """
    if isinstance(references, str) or not references:
        raise CutawayError(f"oracle takes a list of one or more references, got {references!r:.60}. Give [reference].")
    parts, best = _parts(document), 0.0
    chosen: list[int] = []
    scorer, _ = rouge_scorer(list(NAMES))

    def worth(picked: list[int]) -> float:
        scores = scorer.score_multi(list(references), " ".join(parts[index] for index in sorted(picked)))
        return float(sum(scores[name].fmeasure for name in NAMES)) / len(NAMES)

    for _ in range(min(_at_least_one(num_sentences), len(parts))):
        left = [index for index in range(len(parts)) if index not in chosen]
        value, negative = max((worth([*chosen, index]), -index) for index in left)
        if value <= best:
            break
        chosen, best = [*chosen, -negative], value
    return " ".join(parts[index] for index in sorted(chosen))


def _parts(document: str | Sequence[str]) -> list[str]:
    return sentences(document) if isinstance(document, str) else list(document)


def _at_least_one(num_sentences: int) -> int:
    if num_sentences < 1:
        raise CutawayError(f"num_sentences is {num_sentences}. It must be at least 1.")
    return num_sentences
