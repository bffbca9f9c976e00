"""Metrics: equal to the libraries and to the published formulas, for single texts, for many, and for many sums at once."""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from cutaway.errors import CutawayError
from cutaway.tasks.metrics import FAMILIES, METRICS, Example, find_families
from cutaway.tasks.metrics.answers import exact_match, f1, normalise
from tests.reference import squad
from tests.tasks.samples import examples

EMPTY = [Example(source="", prediction="", references=("",)), Example(source="", prediction="a", references=("b",))]
CORPORA = {
    "several references": examples(),
    "one reference": examples(20, seed=1, most_references=1),
    "copies": examples(5, seed=2, share=0.0),
    "nothing right": examples(5, seed=3, share=1.0),
    "one example": examples(1, seed=4),
    "empty texts": EMPTY,
}


def streams(corpus: list[Example]) -> list[Any]:
    return list(zip_longest(*(example.references for example in corpus)))


def value(name: str, statistics: Any) -> float:
    return float(METRICS[name].value(statistics.sum(axis=0), len(statistics)))


@pytest.mark.parametrize("option", FAMILIES["bleu"].options)
@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_bleu_is_that_of_sacrebleu(corpus: list[Example], option: str) -> None:
    measured = FAMILIES["bleu"].measure(corpus, option)
    theirs = BLEU(tokenize=option, force=True)
    wanted = theirs.corpus_score([example.prediction for example in corpus], streams(corpus))
    assert value("bleu", measured.statistics["bleu"]) == pytest.approx(wanted.score, rel=1e-12, abs=1e-12)
    assert measured.signature == theirs.get_signature().format()
    alone = METRICS["bleu"].of_one(measured.statistics["bleu"])
    single = BLEU(tokenize=option, force=True, effective_order=True)
    for example, found in zip(corpus, alone, strict=True):
        score = single.sentence_score(example.prediction, list(example.references)).score
        assert found == pytest.approx(score, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_chrf_is_that_of_sacrebleu(corpus: list[Example]) -> None:
    measured, theirs = FAMILIES["chrf"].measure(corpus, ""), CHRF()
    wanted = theirs.corpus_score([example.prediction for example in corpus], streams(corpus))
    assert value("chrf", measured.statistics["chrf"]) == pytest.approx(wanted.score, rel=1e-12, abs=1e-12)
    assert measured.signature == theirs.get_signature().format()
    for example, found in zip(corpus, METRICS["chrf"].of_one(measured.statistics["chrf"]), strict=True):
        score = theirs.sentence_score(example.prediction, list(example.references)).score
        assert found == pytest.approx(score, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_rouge_is_that_of_rouge_score_with_the_best_reference(corpus: list[Example]) -> None:
    measured = FAMILIES["rouge"].measure(corpus, "")
    for name in ("rouge1", "rouge2", "rougeL"):
        scorer = RougeScorer([name], use_stemmer=True)
        wanted = [
            max(scorer.score(reference, example.prediction)[name].fmeasure for reference in example.references)
            for example in corpus
        ]
        assert measured.statistics[name][:, 0].tolist() == wanted
        assert value(name, measured.statistics[name]) == pytest.approx(100 * sum(wanted) / len(wanted), rel=1e-12)
    assert "stem:porter" in measured.signature


answers = st.text(st.sampled_from("aAnthe cx.,'’-! \t–é"), max_size=12)


@given(answers, st.lists(answers, max_size=4))
def test_answers_are_scored_as_in_squad(prediction: str, references: list[str]) -> None:
    found = exact_match(prediction, references), f1(prediction, references)
    assert found == pytest.approx(squad.scores_2_0(prediction, references), rel=1e-12)
    worded = [reference for reference in references if squad.normalised(reference)]
    if worded:
        assert found == pytest.approx(squad.scores_1_1(prediction, worded), rel=1e-12)


def test_answers_by_hand() -> None:
    assert normalise("  The Cat's,\ta  DOG (an) ") == "cats dog"
    assert f1("the black cat", ["a cat", "dog"]) == pytest.approx(2 / 3)
    assert exact_match("Cat.", ["dog", "the cat"]) == 1.0
    assert (exact_match("", []), f1("", [])) == (1.0, 1.0)
    assert (exact_match("cat", []), f1("cat", [""])) == (0.0, 0.0)


def test_accuracy_is_equality_and_nothing_else() -> None:
    corpus = [
        Example(source="", prediction=prediction, references=("yes", "Yes"))
        for prediction in ("yes", "Yes", "yes ", "no")
    ]
    measured = FAMILIES["accuracy"].measure(corpus, "")
    assert value("accuracy", measured.statistics["accuracy"]) == 50.0


@pytest.mark.parametrize("name", [metric.name for family in FAMILIES.values() for metric in family.metrics])
def test_many_sums_at_once_are_each_by_itself(name: str) -> None:
    family = next(family for family in FAMILIES.values() if name in [metric.name for metric in family.metrics])
    rows = family.measure(CORPORA["several references"], family.options[0]).statistics[name]
    assert rows.shape == (30, METRICS[name].num_statistics)
    sums = np.stack([rows[:10].sum(0), rows.sum(0), np.zeros_like(rows[0])])
    together = METRICS[name].value(sums, 10)
    assert together.tolist() == [float(METRICS[name].value(each, 10)) for each in sums]
    assert together[2] == 0
    assert together[0] != together[1] != 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("blue", "Did you mean 'bleu'?"),
        ("bleu:12", "'12' is no option of the metric 'bleu'. Allowed: 13a, intl"),
        ("squad:x", "It takes none"),
        ([], "No metric is named"),
        (["bleu", "chrf", "bleu:zh"], "'bleu' is named twice"),
    ],
)
def test_a_metric_that_does_not_exist_is_refused(names: Any, message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        find_families(names)
    assert message in str(caught.value)


@pytest.mark.parametrize(("family", "library"), [("bleu", "sacrebleu.metrics"), ("rouge", "rouge_score.rouge_scorer")])
def test_a_missing_library_names_the_command(family: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(CutawayError, match=r"pip install 'cutaway\[evaluate\]'"):
        FAMILIES[family].measure(EMPTY, FAMILIES[family].options[0])
