"""Chunks of a text: they cover it, fit, end where sentences end, share what they may, and are what a slow twin finds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from random import Random

import pytest

from cutaway.errors import CutawayError
from cutaway.tasks.chunks import Span, spans
from cutaway.tasks.sentences import sentences
from tests.text.samples import trained

WORDS = (
    "The",
    "cat",
    "sat,",
    "however,",
    "on",
    "3.5",
    "mats",
    "É",
    "漢字",
    "extraordinarily",
    "(as",
    "ever)",
    "🙂",
    "it’s",
)
ENDS = (". ", "! ", "?\n\n", "。", "… ", ".” ", "\n", " ")


def text_of(random: Random) -> str:
    """Some sentences, some of them long, with spaces of all kinds around them."""
    made = random.choice(["", " ", "\n \n"])
    for _ in range(random.randint(1, 6)):
        made += random.choice([" ", "  ", "\t"]).join(random.choices(WORDS, k=random.choice([1, 3, 6, 20])))
        made += random.choice(ENDS)
    return made + random.choice(["", "\n\n"])


@cache
def size(text: str) -> int:
    return len(trained("bpe").encode(text.strip()))


def found_in(text: str, chunk: int, overlap: int) -> list[Span]:
    return list(spans(text, lambda part: size(part) <= chunk, lambda part: size(part) <= overlap))


def borders(text: str) -> list[list[int]]:
    """Slow twin: where sentences, words and characters begin, found one after another in the text; and its end."""
    parts = [sentences(text), text.split(), [character for character in text if character.strip()]]
    levels = []
    for pieces in parts:
        places, end = [], 0
        for piece in pieces:
            start = text.index(piece, end)
            places.append(start)
            end = start + len(piece)
        levels.append([*places[1:], len(text)])
    return levels


def slow(text: str, chunk: int, overlap: int) -> list[Span]:
    """Slow twin: every border is tried."""
    levels, made = borders(text), [Span(0, 0)]
    while made[-1].end < len(text):
        last = made[-1]
        level = next((level for level in levels if last.end in level), [])
        shared = [s for s in level if last.start < s < last.end and size(text[s : last.end]) <= overlap]
        for start in [*shared, last.end]:
            ends = ([e for e in level if e > start and size(text[start:e]) <= chunk] for level in levels)
            end = max(next((fitting for fitting in ends if fitting), [start]))
            if end > last.end:
                made.append(Span(start, end))
                break
        else:
            raise AssertionError("nothing fits")
    return made[1:]


@pytest.mark.parametrize("overlap", [0, 4, 9])
@pytest.mark.parametrize("chunk", [10, 25, 60])
def test_chunks_are_those_of_the_slow_twin_and_cover_the_text(chunk: int, overlap: int) -> None:
    random, num_chunks, num_shared = Random(chunk + overlap), 0, 0
    for _ in range(20):
        text = text_of(random)
        got = found_in(text, chunk, overlap)
        assert got == slow(text, chunk, overlap), text
        assert (got[0].start, got[-1].end) == (0, len(text))
        for one, other in pairwise(got):
            assert one.start < other.start <= one.end < other.end
            assert size(text[other.start : one.end]) <= overlap
            num_shared += other.start < one.end
        for start, end in got:
            assert text[start:end].strip()
            assert size(text[start:end]) <= chunk
        num_chunks += len(got)
    assert num_chunks > 20
    assert (num_shared > 5) == (overlap > 0)


def test_what_fits_is_one_chunk() -> None:
    text = "  One. Two. Three.  "
    assert found_in(text, 100, 50) == [Span(0, len(text))]


def test_chunks_end_with_sentences_where_they_can() -> None:
    text = "The cat sat. The dog ran. The cat and the dog went up the hill."
    got = [text[start:end] for start, end in found_in(text, 12, 0)]
    assert got[0] == "The cat sat. "
    assert all(
        part in ("The cat sat. ", "The dog ran. ") or part in "The cat and the dog went up the hill." for part in got
    )


def test_a_word_that_does_not_fit_is_cut() -> None:
    text = "A " + "漢字" * 9 + " end."
    assert "".join(text[start:end] for start, end in found_in(text, 7, 0)) == text


def test_a_character_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CutawayError, match=r"Not even the character '🙂' fits.*more tokens"):
        found_in("🙂", 1, 0)
