"""Extracts: sentences, the first ones, and the oracle, which a slow twin finds too."""

from __future__ import annotations

from random import Random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from cutaway.errors import CutawayError
from cutaway.tasks.baselines import lead, oracle, sentences
from tests.tasks.samples import sentence

DOCUMENT = "The cat sat. A dog came! Who saw it? Nobody did."


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (DOCUMENT, ["The cat sat.", "A dog came!", "Who saw it?", "Nobody did."]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("“Go!” “Why?” It is 3.5 m long, i.e. much. 12 came.", ["“Go!”", "“Why?”", "It is 3.5 m long, i.e. much.", "12 came."]),
        ("A title\n\nThen text… Über all", ["A title", "Then text…", "Über all"]),
        ("猫坐下。狗来了！谁？", ["猫坐下。", "狗来了！", "谁？"]),
        (" \n ", []),
        ("no end", ["no end"]),
    ],
)  # fmt: skip
def test_sentences(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


def test_nothing_of_a_text_is_lost() -> None:
    random = Random(0)
    for _ in range(50):
        text = ". ".join(sentence(random) for _ in range(5)) + "."
        assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_the_lead_is_the_first_sentences() -> None:
    assert lead(DOCUMENT, 2) == "The cat sat. A dog came!"
    assert lead(["One.", "Two."], 5) == "One. Two."


def greedy(parts: list[str], references: list[str], num: int) -> list[int]:
    """The slow twin: the scores of every extract that is one sentence longer, each reference by itself."""
    scorer, chosen, best = RougeScorer(["rouge1", "rouge2"], use_stemmer=True), list[int](), 0.0
    while len(chosen) < num:
        worth = {}
        for index in range(len(parts)):
            if index not in chosen:
                text = " ".join(parts[i] for i in range(len(parts)) if i in [*chosen, index])
                found = [scorer.score(reference, text) for reference in references]
                worth[index] = sum(max(each[name].fmeasure for each in found) for name in ("rouge1", "rouge2")) / 2
        top = max(worth.values(), default=0.0)
        if top <= best:
            break
        chosen.append(next(index for index in worth if worth[index] == top))
        best = top
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(8))
def test_the_oracle_is_its_slow_twin(seed: int) -> None:
    random = Random(seed)
    parts = [sentence(random) for _ in range(7)]
    references = [" ".join(sentence(random) for _ in range(2)) for _ in range(2)]
    found = oracle(parts, references)
    assert found == " ".join(parts[index] for index in greedy(parts, references, 3))


def test_the_oracle_takes_what_the_reference_says_and_stops() -> None:
    assert oracle(DOCUMENT, ["Nobody did that. The cat sat."]) == "The cat sat. Nobody did."
    assert oracle(DOCUMENT, ["Who saw it, and who was the cat?"], num_sentences=1) == "Who saw it?"
    assert oracle(DOCUMENT, ["elephants"]) == ""
    assert oracle("", ["cat"]) == ""


def test_what_gives_no_extract_is_refused() -> None:
    with pytest.raises(CutawayError, match="num_sentences is 0"):
        lead(DOCUMENT, 0)
    with pytest.raises(CutawayError, match="num_sentences is -1"):
        oracle(DOCUMENT, ["a"], -1)
    with pytest.raises(CutawayError, match=r"Give \[reference\]"):
        oracle(DOCUMENT, "a")
    with pytest.raises(CutawayError, match="one or more references"):
        oracle(DOCUMENT, [])
