"""What an evaluation found. In: task, model, data, and (source, prediction, references) of every example. Out: a `Report`.

It keeps every prediction and what each example gave to every metric, so that two reports can be compared (`tasks.compare`). On
disk it is one JSON file. What is read is checked: every value must follow from the statistics beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import CutawayError, near
from ..strict import build
from ..text.refusals import check_text
from ..weights.atomic import write_file
from .metrics import METRICS, Example, Floats, Measured, Metric, find_families
from .resample import NUM_RESAMPLES, interval

FORMAT: Final = "cutaway report 1"
DERIVED: Final = ("format", "num_examples", "best", "worst")
NUM_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file of the data: its name, and the SHA-256 of its bytes in hexadecimal."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric over all examples. low, high: the 95 % interval. statistics: what each example gave, to be summed."""

    metric: str
    value: float
    low: float
    high: float
    signature: str
    statistics: tuple[tuple[float, ...], ...]

    @property
    def formula(self) -> Metric:
        """The metric itself."""
        return METRICS[self.metric]

    @cached_property
    def rows(self) -> Floats:
        """The statistics as an array: a row for each example."""
        return np.array(self.statistics, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One evaluation of one model. seconds: what the predictions took. scores: the first one ranks the examples."""

    task: str
    model: str
    data: tuple[DataFile, ...]
    seconds: float
    examples: tuple[Example, ...]
    scores: tuple[Score, ...]

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return len(self.examples)

    def score(self, metric: str) -> Score:
        """The score of a metric by name. Raises CutawayError for one that was not measured."""
        found = {score.metric: score for score in self.scores}
        if metric not in found:
            raise CutawayError(f"The report of '{self.model}' has no '{metric}'.{near(metric, found)}")
        return found[metric]

    def ranked(self) -> list[int]:
        """The examples' numbers, the best one first; of equal ones the earlier."""
        formula = self.scores[0].formula
        values = formula.of_one(self.scores[0].rows)
        return [int(index) for index in np.argsort(values if formula.is_loss else -values, kind="stable")]

    def best(self, num: int = NUM_SHOWN) -> list[int]:
        """The numbers of the best examples, the best one first."""
        return self.ranked()[:num]

    def worst(self, num: int = NUM_SHOWN) -> list[int]:
        """The numbers of the worst examples, the worst one first."""
        return self.ranked()[::-1][:num]

    def summary(self) -> dict[str, Any]:
        """The report without its examples, for --json: what was measured, values, intervals and signatures."""
        scores = {
            score.metric: {name: getattr(score, name) for name in ("value", "low", "high", "signature")}
            for score in self.scores
        }
        data = [asdict(file) for file in self.data]
        return {
            "task": self.task,
            "model": self.model,
            "data": data,
            "seconds": self.seconds,
            **self.counts(),
            "scores": scores,
        }

    def counts(self) -> dict[str, Any]:
        """What follows from the examples: how many there are, and which are the best and the worst."""
        return {"num_examples": self.num_examples, "best": self.best(), "worst": self.worst()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as it is written."""
        return {"format": FORMAT, **self.counts(), **asdict(self)}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises CutawayError if the system refuses."""
        write_file(path, json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8"))

    @staticmethod
    def load(path: Path) -> Report:
        """Read a file. Raises CutawayError for one that is missing, damaged, or no report."""
        try:
            found = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse_constant)
        except FileNotFoundError:
            raise CutawayError(f"The report {path} does not exist. Check its name.") from None
        except OSError as error:
            raise CutawayError(f"{path} cannot be read: {error.strerror}. Name the file of a report.") from error
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"it is not JSON ({error})") from error
        return _checked(found, path)


def make_report(
    *,
    task: str,
    model: str,
    data: Path | Sequence[Path],
    examples: Iterable[Example | tuple[str, str, Sequence[str]]],
    metric: str | Sequence[str] | Measured,
    seconds: float = 0.0,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Report:
    """Measure predictions.

    data: the file or files that the examples were read from. examples: (source, prediction, references) in the order of the data.
    metric: one or several of bleu, chrf, rouge, squad, accuracy; bleu:zh and the like name a tokenizer; or what was measured
    already. seconds: what the predictions took. Raises CutawayError for no examples, one without a reference where one is
    needed, an unknown metric, a missing library or data file.
    """
    made = tuple(map(_example, examples))
    if not made:
        raise CutawayError(f"There is no example to measure '{task}' on. Check the data, and any limit set.")
    scores = []
    for measured in [metric] if isinstance(metric, Measured) else _measured(metric, made):
        for name, rows in measured.statistics.items():
            each = METRICS[name]
            low, high = interval(each, rows, num_resamples, seed)
            statistics = tuple(map(tuple, rows.tolist()))
            value = _value(each, rows)
            scores.append(
                Score(metric=name, value=value, low=low, high=high, signature=measured.signature, statistics=statistics)
            )  # fmt: skip
    files = [data] if isinstance(data, Path) else list(data)
    return Report(
        task=task,
        model=model,
        data=tuple(map(_data_file, files)),
        seconds=seconds,
        examples=made,
        scores=tuple(scores),
    )


def _measured(metric: str | Sequence[str], examples: Sequence[Example]) -> Iterator[Measured]:
    for family, option in find_families(metric):
        if family.needs_reference:
            _refuse_without_reference(examples, family.name)
        yield family.measure(examples, option)


def _example(given: Example | tuple[str, str, Sequence[str]]) -> Example:
    if not isinstance(given, Example):
        source, prediction, references = given
        if isinstance(references, str):
            raise CutawayError(f"The references of an example are the text {references!r:.60}. Give a list of texts.")
        given = Example(source=source, prediction=prediction, references=tuple(references))
    for text in (given.source, given.prediction, *given.references):
        check_text(text)
    return given


def _refuse_without_reference(examples: Sequence[Example], family: str) -> None:
    bare = [number for number, example in enumerate(examples, start=1) if not example.references]
    if bare:
        raise CutawayError(
            f"Example {bare[0]:,} has no reference, and '{family}' needs one for each ({len(bare):,} have none). "
            "Leave such examples out, or measure 'squad', which knows questions without an answer."
        )


def _value(metric: Metric, rows: Floats) -> float:
    return float(metric.value(rows.sum(axis=0), len(rows)))


def _data_file(path: Path) -> DataFile:
    try:
        with path.open("rb") as file:
            digest = sha256()
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise CutawayError(f"The data file {path} cannot be read: {error.strerror}.") from error
    return DataFile(name=path.name, sha256=digest.hexdigest())


def _checked(found: Any, path: Path) -> Report:
    """What a file holds as a report, if every number follows from the others."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        got = f"its format is {found.get('format')!r:.60}" if isinstance(found, dict) else "it holds no table"
        raise _damaged(path, f"{got}, and not '{FORMAT}'")
    try:
        report = build(Report, {key: value for key, value in found.items() if key not in DERIVED})
        _check_numbers(report)
        is_whole = all(found.get(key) == value for key, value in report.counts().items())
    except (CutawayError, OverflowError) as error:
        raise _damaged(path, str(error).rstrip(".")) from error
    if not is_whole:
        raise _damaged(path, "its counts do not belong to its examples")
    return report


def _check_numbers(report: Report) -> None:
    if not report.examples or not report.scores:
        raise CutawayError("it has no examples or no scores")
    if not math.isfinite(report.seconds):
        raise CutawayError(f"its seconds are {report.seconds}")
    if len({score.metric for score in report.scores}) < len(report.scores):
        raise CutawayError("a metric stands in it twice")
    for score in report.scores:
        if score.metric not in METRICS:
            raise CutawayError(f"its metric '{score.metric}' is unknown.{near(score.metric, METRICS)}")
        if {len(row) for row in score.statistics} != {score.formula.num_statistics}:
            raise CutawayError(f"the statistics of '{score.metric}' have the wrong width")
        if len(score.statistics) != report.num_examples:
            raise CutawayError(f"'{score.metric}' has {len(score.statistics)} rows for {report.num_examples} examples")
        if not np.isfinite(score.rows).all():
            raise CutawayError(f"a statistic of '{score.metric}' is no finite number")
        value = _value(score.formula, score.rows)
        if not math.isclose(value, score.value, rel_tol=1e-9, abs_tol=1e-9):
            raise CutawayError(f"'{score.metric}' is {score.value} in it, and its statistics give {value}")
        if not score.low <= score.high:
            raise CutawayError(f"the interval of '{score.metric}' ends before it begins")


def _damaged(path: Path, reason: str) -> CutawayError:
    return CutawayError(
        f"{path} is no whole report of this version of Cutaway: {reason}. Name another file, or evaluate again."
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds the number {name}")
