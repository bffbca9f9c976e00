"""Evaluation of summaries: known ROUGE, the best of several references, baselines beside it, and every mistake in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.tasks.metrics import FAMILIES, Example
from cutaway.tasks.report import Report
from cutaway.tasks.summaries import evaluate_summaries, read_summaries
from cutaway.tasks.summarise import summarise
from tests.tasks.samples import examples
from tests.tasks.summarisers import summariser

RECORDS: list[dict[str, Any]] = [
    {"source": ["The cat sat down.", "A dog ran up the hill."], "target": ["The cat sat.", "Up the hill ran a dog."]},
    {"source": "Tom is a cat. The cat likes the dog.", "target": "The cat likes it."},
]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LM:
    """A random model of T5's shape."""
    folder = tmp_path_factory.mktemp("model")
    summariser("t5", folder)
    return load(folder)


def write(folder: Path, records: list[Any]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def values(report: Report) -> list[float]:
    return [score.value for score in report.scores]


def test_all_three_values_are_those_of_the_reference_with_the_largest_rouge_1() -> None:
    one = Example(source="", prediction="a b c", references=("a b x", "c b a", "b c a"))
    found = {option: FAMILIES["rouge"].measure([one], option) for option in ("joint", "")}
    for option, wanted in (("joint", [1.0, 0.0, 1 / 3]), ("", [1.0, 0.5, 2 / 3])):
        assert [float(rows[0, 0]) for rows in found[option].statistics.values()] == pytest.approx(wanted)
    assert found["joint"].signature.endswith("refs:rouge1")
    assert found[""].signature.endswith("refs:best")


def test_the_joint_values_are_those_of_the_library() -> None:
    corpus = examples(40, seed=7)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    measured = FAMILIES["rouge"].measure(corpus, "joint").statistics
    for row, example in enumerate(corpus):
        best: dict[str, float] = {}
        for reference in example.references:
            scores = {name: score.fmeasure for name, score in scorer.score(reference, example.prediction).items()}
            best = scores if not best or scores["rouge1"] > best["rouge1"] else best
        assert {name: float(measured[name][row, 0]) for name in measured} == pytest.approx(best)


def test_the_model_stands_beside_two_baselines(lm: LM, tmp_path: Path) -> None:
    path = write(tmp_path, RECORDS)
    told: list[tuple[int, int]] = []
    found = evaluate_summaries(lm, path, progress=lambda *counts: told.append(counts))
    assert told[-1] == (2, 2)
    documents = ["The cat sat down. A dog ran up the hill.", RECORDS[1]["source"]]
    assert [each.prediction for each in found.model.examples] == [summarise(lm, text).text for text in documents]
    assert [each.prediction for each in found.lead.examples] == ["The cat sat down.", "Tom is a cat."]
    assert [each.prediction for each in found.oracle.examples] == ["The cat sat down.", "The cat likes the dog."]
    # lead: 3 of 4 words and 3; 2 of 3 pairs and 2; all in order. Then 2 of 4 and 4 words ("a" is not "the"), 0 of 3 pairs.
    first, second = (6 / 7, 4 / 5, 6 / 7), (2 / 8, 0.0, 2 / 8)
    assert values(found.lead) == pytest.approx([50 * sum(pair) for pair in zip(first, second, strict=True)])
    assert found.lead.model == "the first sentence"
    assert [report.task for report in found.named().values()] == ["summarise"] * 3
    assert all(report.scores[0].signature.endswith("refs:rouge1") for report in found.named().values())
    assert found.oracle.score("rouge1").value > found.lead.score("rouge1").value
    found.save(tmp_path / "reports")
    again = [Report.load(tmp_path / "reports" / f"{name}.json") for name in ("model", "lead", "oracle")]
    assert again == list(found.named().values())


def test_a_limit_and_a_number_of_sentences(lm: LM, tmp_path: Path) -> None:
    found = evaluate_summaries(lm, write(tmp_path, RECORDS), limit=1, num_sentences=2)
    assert found.model.num_examples == 1
    assert found.lead.examples[0].prediction == "The cat sat down. A dog ran up the hill."
    assert found.lead.model == "the first 2 sentences"


def test_sentences_are_those_given_or_found(tmp_path: Path) -> None:
    one, other = read_summaries(write(tmp_path, RECORDS))
    assert one.sentences == tuple(RECORDS[0]["source"])
    assert other.sentences == ("Tom is a cat.", "The cat likes the dog.")
    assert other.references == ("The cat likes it.",)
    assert one.place.endswith("data.jsonl:1")


MISTAKES: dict[str, tuple[list[Any], str]] = {
    "no target": ([{"source": "x"}], "data.jsonl:1 has no field 'target'"),
    "an empty source": ([RECORDS[0], {"source": " ", "target": "x"}], "source of .*data.jsonl:2 is ' '"),
    "no references": ([{"source": "x", "target": []}], r"target of .*data.jsonl:1 is \[\]"),
    "an empty reference": ([{"source": "x", "target": ["x", ""]}], "none of them empty"),
    "a number": ([{"source": 3, "target": "x"}], "source of .*data.jsonl:1 is 3"),
    "no object": ([3], "holds a JSON int"),
    "nothing": ([], "There is no example"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place(case: str, lm: LM, tmp_path: Path) -> None:
    records, message = MISTAKES[case]
    with pytest.raises(CutawayError, match=message):
        evaluate_summaries(lm, write(tmp_path, records))


def test_a_missing_file_is_named(lm: LM, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"none.jsonl' does not exist"):
        evaluate_summaries(lm, tmp_path / "none.jsonl")
