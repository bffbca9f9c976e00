"""Examples for the tests of metrics and reports. In: a seed. Out: predictions of several qualities, with their references."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from cutaway.tasks.metrics import Example
from cutaway.tasks.report import Report, make_report

TEXT = "The the cat cats sat, sits on a an mat! runs running dog. (dogs) over 12 3.5 Über café"
WORDS = tuple(TEXT.split())


def sentence(random: Random, most: int = 12) -> str:
    """Some words, sometimes none."""
    return " ".join(random.choice(WORDS) for _ in range(random.randint(0, most)))


def changed(random: Random, text: str, share: float) -> str:
    """The text with a share of its words replaced or left out."""
    kept = [random.choice([*WORDS, ""]) if random.random() < share else word for word in text.split()]
    return " ".join(word for word in kept if word)


def examples(num: int = 30, *, seed: int = 0, share: float = 0.4, most_references: int = 3) -> list[Example]:
    """References, and predictions that are changed copies of the first one. Equal seeds give equal references."""
    asked, answered = Random(seed), Random(f"{seed} {share}")
    found = []
    for number in range(num):
        references = [sentence(asked) for _ in range(asked.randint(1, most_references))]
        prediction = changed(answered, references[0], share)
        found.append(Example(source=f"source {number}", prediction=prediction, references=tuple(references)))
    return found


def report(folder: Path, model: str = "tiny", *, metric: Any = ("bleu", "squad"), **knobs: Any) -> Report:
    """A report on a file in the folder."""
    data = folder / "pairs.tsv"
    data.write_text("pairs\n", "utf-8")
    return make_report(task="translate", model=model, data=data, examples=examples(**knobs), metric=metric, seconds=2.5)
