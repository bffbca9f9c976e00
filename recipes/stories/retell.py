"""A small sample of stories -> more to learn from, and less to learn by heart. In: clean stories. Out: tellings of them.

Two thousand stories read again and again are recited, not understood. So no two stories begin alike, and each is told several
times, every time with other names: who is called what must then be read in the story itself.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

NAMES = (Path(__file__).parent / "names.tsv").read_text(encoding="utf-8").splitlines()[1:]
GIRLS, BOYS = (tuple(line.split("\t")[1].split()) for line in NAMES)
NUM_TELLINGS = 6
OPENING = 12  # words
SHORTEST = 150  # characters
LATER_START = re.compile(r"(?<=[.!?\"]\s)One day, (\w+)")
ALONE = ("he", "she")
UNNAMED = ("it", "they", "we", "i", "his", "her", "their", "when", "while", "as")
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
NAME = re.compile(rf"\b(?:{'|'.join((*GIRLS, *BOYS))})\b")


def with_openings_of_their_own(stories: Iterable[str]) -> list[str]:
    """The stories without beginnings that an earlier one has, whatever the names in them.

    Such a story begins at its first "One day, …" that names who it is about; where there is none, it goes.
    """
    seen: set[tuple[str, ...]] = set()
    kept = []
    for story in stories:
        own = next((text for text in (story, later_start(story)) if text and opening(text) not in seen), None)
        if own is not None:
            seen.add(opening(own))
            kept.append(own)
    return kept


def later_start(story: str) -> str | None:
    """The story from its first "One day, …" on; a "she" or "he" there becomes the one name that came before it.

    None where there is no such place, where it leaves open who is meant, or where too little follows.
    """
    found = LATER_START.search(story[:500])
    if found is None or len(story) - found.start() < SHORTEST:
        return None
    who, names = found[1], set(NAME.findall(story[: found.start()]))
    if who.lower() in ALONE and len(names) == 1:
        return f"One day, {names.pop()}{story[found.end() :]}"
    return None if who.lower() in (*ALONE, *UNNAMED) else story[found.start() :]


def opening(story: str) -> tuple[str, ...]:
    """The first words of a story, its names left open."""
    return tuple(WORD.findall(NAME.sub("someone", story[:300]).lower())[:OPENING])


def tellings(stories: Sequence[str]) -> list[str]:
    """All stories as they are, then all with other names, and again: no two tellings of a story stand side by side."""
    return [*stories, *(retold(story, number) for number in range(1, NUM_TELLINGS) for story in stories)]


def retold(story: str, number: int) -> str:
    """One more telling: every name becomes another of its kind, the same throughout. The same for the same story and number."""
    chance = random.Random(hashlib.sha256(f"{number} {story}".encode()).digest())
    names = sorted(set(NAME.findall(story)))
    others = {}
    for pool in (GIRLS, BOYS):
        old = [name for name in names if name in pool]
        others |= dict(zip(old, chance.sample([name for name in pool if name not in names], len(old)), strict=True))
    return NAME.sub(lambda found: others[found[0]], story)
