"""Reports side by side. In: reports on the same examples. Out: for every metric of both, a difference and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CutawayError
from .report import Report
from .resample import NUM_RESAMPLES, NUM_SHUFFLES, Paired, paired


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of two reports. test: the difference (second less first), its interval and p-values."""

    metric: str
    first: float
    second: float
    test: Paired


def compare_reports(
    first: Report,
    second: Report,
    *,
    num_resamples: int = NUM_RESAMPLES,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
) -> list[Difference]:
    """A paired test of every metric that both have. Raises CutawayError as `refuse_incomparable`."""
    refuse_incomparable([first, second])
    found = []
    for name in common_metrics([first, second]):
        one, other = first.score(name), second.score(name)
        test = paired(
            one.formula, one.rows, other.rows, num_resamples=num_resamples, num_shuffles=num_shuffles, seed=seed
        )
        found.append(Difference(metric=name, first=one.value, second=other.value, test=test))
    return found


def common_metrics(reports: Sequence[Report]) -> list[str]:
    """The metrics that all reports have, in the order of the first."""
    names = [{score.metric for score in report.scores} for report in reports]
    return [score.metric for score in reports[0].scores if all(score.metric in each for each in names)]


def refuse_incomparable(reports: Sequence[Report]) -> None:
    """Raises CutawayError for other examples, or a metric measured in another way; and where no metric is in all of them."""
    first = reports[0]
    for other in reports[1:]:
        _refuse_other_examples(first, other)
    names = common_metrics(reports)
    if not names:
        has = "; ".join(
            f"'{report.model}' has {', '.join(score.metric for score in report.scores)}" for report in reports
        )
        raise CutawayError(f"These reports have no metric in common: {has}. Evaluate again with the same one.")
    for name in names:
        for other in reports[1:]:
            ours, theirs = first.score(name).signature, other.score(name).signature
            if ours != theirs:
                raise CutawayError(
                    f"'{name}' was measured in two ways: {ours} for '{first.model}' and {theirs} for '{other.model}'. "
                    "Evaluate again with one of them."
                )


def _refuse_other_examples(first: Report, other: Report) -> None:
    asked = [[(example.source, example.references) for example in report.examples] for report in (first, other)]
    if asked[0] == asked[1]:
        return
    ours, theirs = (", ".join(f"{file.name} ({file.sha256[:8]})" for file in report.data) for report in (first, other))
    if len(asked[0]) != len(asked[1]):
        how = f"{len(asked[0]):,} examples and {len(asked[1]):,}"
    else:
        place = next(number for number, (a, b) in enumerate(zip(*asked, strict=True), start=1) if a != b)
        how = f"they differ first in example {place:,}"
    raise CutawayError(
        f"These reports are on other examples: '{first.model}' on {ours}, '{other.model}' on {theirs}; {how}. "
        "Only models that were asked the same can be compared: evaluate both on one file."
    )
