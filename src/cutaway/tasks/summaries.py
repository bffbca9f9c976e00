"""How good summaries are. In: a model and JSON-lines {source, target}. Out: reports: the model's, and two baselines' beside it.

A source is a text or the list of its sentences, a target a summary or a list of them. Of several, the one with the largest
ROUGE-1 gives all three values, as in the evaluation of SciTLDR (Cachola et al. 2020): `rouge:joint`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..data.sources import read_records
from ..errors import CutawayError
from ..lm import LM
from .baselines import lead, oracle
from .report import Report, make_report
from .sentences import sentences
from .summarise import Progress, Settings, check, summarise_all

METRIC: Final = "rouge:joint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One example. sentences: of the source; place: where it stands, for messages."""

    source: str
    sentences: tuple[str, ...]
    references: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryReports:
    """On the same examples: the model, the first sentences of each document, and the extract that ROUGE likes best."""

    model: Report
    lead: Report
    oracle: Report

    def named(self) -> dict[str, Report]:
        """Names for columns, and for files: model, lead, oracle."""
        return {"model": self.model, "lead": self.lead, "oracle": self.oracle}

    def save(self, folder: Path) -> None:
        """Write model.json, lead.json and oracle.json. Raises CutawayError if the system refuses."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, report in self.named().items():
            report.save(folder / f"{name}.json")


def read_summaries(path: Path) -> Iterator[Document]:
    """The examples of a JSON-lines file, in order.

    Raises CutawayError, with file and line, for a file that does not exist, no JSON, a missing field, and an empty side.
    """
    if not path.is_file():
        raise CutawayError(
            f"The file '{path}' does not exist. Name a JSON-lines file with documents and their summaries."
        )
    for record, place in read_records(path, ("source", "target")):
        source, given = record["source"], _texts(record["source"], f"source of {place}")
        yield Document(
            source=" ".join(given),
            sentences=given if isinstance(source, list) else tuple(sentences(given[0])),
            references=_texts(record["target"], f"target of {place}"),
            place=place,
        )


def evaluate_summaries(
    lm: LM,
    file: str | Path,
    settings: Settings | None = None,
    *,
    limit: int | None = None,
    num_sentences: int | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> SummaryReports:
    """ROUGE of a model's summaries, and of the two baselines'.

    settings, batch_size, progress: as `summarise`. limit: examples that are measured, from the first one; None: all.
    num_sentences: of both baselines; None: as many as a reference has on average, rounded.
    Raises CutawayError as `read_summaries` and `summarise` do, and for a file without examples.
    """
    check(lm)
    path = Path(file).expanduser()
    documents = list(islice(read_summaries(path), limit))
    if not documents:
        raise CutawayError(f"There is no example in {path}: one {{source, target}} a line.")
    num_sentences = _usual_length(documents) if num_sentences is None else num_sentences
    lead_of, oracle_of = (
        [lead(document.sentences, num_sentences) for document in documents],
        [oracle(document.sentences, document.references, num_sentences) for document in documents],
    )
    began = time.perf_counter()
    sources = [document.source for document in documents]
    said = [found.text for found in summarise_all(lm, sources, settings, batch_size=batch_size, progress=progress)]
    report = _reporter(path, documents)
    count = "sentence" if num_sentences == 1 else f"{num_sentences} sentences"
    return SummaryReports(
        model=report(lm.name, said, time.perf_counter() - began),
        lead=report(f"the first {count}", lead_of, 0.0),
        oracle=report(f"the best {count}, by ROUGE with the reference", oracle_of, 0.0),
    )


def _reporter(path: Path, documents: Sequence[Document]) -> Callable[[str, Sequence[str], float], Report]:
    def report(model: str, said: Sequence[str], seconds: float) -> Report:
        examples = [
            (document.source, text, document.references) for document, text in zip(documents, said, strict=True)
        ]
        return make_report(task="summarise", model=model, data=path, examples=examples, metric=METRIC, seconds=seconds)

    return report


def _usual_length(documents: Sequence[Document]) -> int:
    lengths = [len(sentences(reference)) for document in documents for reference in document.references]
    return max(1, round(sum(lengths) / len(lengths)))


def _texts(value: Any, place: str) -> tuple[str, ...]:
    """A text or a list of texts, of which each says something."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise CutawayError(f"The {place} is {value!r:.60}. It takes a text or a list of texts, none of them empty.")
    return tuple(texts)
