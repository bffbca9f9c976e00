"""Two reports: differences with their tests, and refusals where the reports do not belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.tasks.compare import compare_reports, refuse_incomparable
from cutaway.tasks.metrics import Example
from cutaway.tasks.resample import paired
from tests.tasks.samples import report


def test_every_metric_of_both_is_tested(tmp_path: Path) -> None:
    poor, good = (report(tmp_path, metric=("bleu", "squad"), num=60, share=share) for share in (0.6, 0.1))
    found = compare_reports(poor, good)
    assert [each.metric for each in found] == ["bleu", "exact_match", "f1"]
    for each in found:
        assert (each.first, each.second) == (poor.score(each.metric).value, good.score(each.metric).value)
        assert each.test.difference == pytest.approx(each.second - each.first)
        assert each.test.low < each.test.difference < each.test.high
        assert each.test == paired(
            poor.score(each.metric).formula, poor.score(each.metric).rows, good.score(each.metric).rows
        )
        assert each.test.low > 0
        assert max(each.test.bootstrap_p, each.test.randomisation_p) < 0.01


def test_small_differences_of_few_examples_are_unsure(tmp_path: Path) -> None:
    one, other = (report(tmp_path, metric="chrf", num=8, share=share) for share in (0.30, 0.35))
    (found,) = compare_reports(one, other)
    assert found.test.low < 0 < found.test.high
    assert min(found.test.bootstrap_p, found.test.randomisation_p) > 0.05


def test_only_metrics_of_both_are_compared(tmp_path: Path) -> None:
    one, other = report(tmp_path, metric=("chrf", "bleu")), report(tmp_path, metric=("accuracy", "bleu"))
    assert [each.metric for each in compare_reports(one, other)] == ["bleu"]


def test_reports_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = report(tmp_path, "first")
    stranger = Example(source="source 4", prediction="", references=("other",))
    cases = {
        "30 examples and 20": report(tmp_path, "second", num=20),
        "they differ first in example 1; ".strip("; "): report(tmp_path, "second", seed=5),
        "they differ first in example 5": replace(first, examples=(*first.examples[:4], stranger, *first.examples[5:])),
        "no metric in common: 'first' has bleu, exact_match, f1; 'second' has chrf": report(
            tmp_path, "second", metric="chrf"
        ),
        "'bleu' was measured in two ways: nrefs": report(tmp_path, "second", metric="bleu:char"),
    }
    for message, other in cases.items():
        with pytest.raises(CutawayError) as caught:
            compare_reports(first, other)
        assert message in str(caught.value)
        with pytest.raises(CutawayError):
            refuse_incomparable([first, first, other])


def test_a_refusal_names_the_data(tmp_path: Path) -> None:
    first, other = report(tmp_path, "first"), report(tmp_path, "second", seed=5)
    digest = first.data[0].sha256[:8]
    with pytest.raises(CutawayError, match=rf"'first' on pairs.tsv \({digest}\), 'second' on pairs.tsv \({digest}\)"):
        compare_reports(first, other)
