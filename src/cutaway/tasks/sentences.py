"""Where sentences begin. In: a text. Out: its sentences, or the places where they begin; by marks and line breaks alone."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

# After a mark that ends a sentence, and what closes behind it; a Chinese or Japanese full stop needs no space.
ENDS: Final = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_a-zß-öø-ÿ])|(?<=[。！？])|\n+")


def sentences(text: str) -> list[str]:
    """A text in sentences: "Mr. Smith" is cut after "Mr."; give a list where you have better."""
    return [text[start:end] for start, end in sentence_borders(text)]


def sentence_borders(text: str) -> list[tuple[int, int]]:
    """Where each of the `sentences` begins and ends in the text, white space around it left out."""
    parts = [(start, text[start:end]) for start, end in pairwise([0, *sentence_starts(text), len(text)])]
    stripped = [(start + len(part) - len(part.lstrip()), part.strip()) for start, part in parts]
    return [(start, start + len(part)) for start, part in stripped if part]


def sentence_starts(text: str) -> list[int]:
    """The places where all sentences but the first begin; between two places there may be spaces alone."""
    return [match.end() for match in ENDS.finditer(text)]
