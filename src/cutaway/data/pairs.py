"""Files -> pairs of texts, a source and its target. In: a `PairSource`: TSV, JSON-lines, or two aligned files. Out: strings.

Pairs come in the order of the file. A pair of which a side is empty is an error with its place, since an empty line mostly
means that two files are no longer aligned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import CutawayError
from .sources import open_text, read_lines, read_records, string_of

PairFormat = Literal["tsv", "jsonl", "lines"]


class Pair(NamedTuple):
    """One example. place: where it stands, for messages."""

    source: str
    target: str
    place: str


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """Where pairs come from.

    files: a TSV file, a JSON-lines file (.jsonl, .ndjson), or, with target_files, the source side of two files that are
    aligned line by line; .xz, .gz and .bz2 are read too. source, target: the JSON fields, or the columns of the TSV counted
    from 1. folder: what relative paths are relative to. weight: how often the pairs are read while those of weight 1 are
    read once. Raises `CutawayError`.
    """

    files: str
    target_files: str | None = None
    source: str | int = 1
    target: str | int = 2
    folder: Path = Path()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise CutawayError(f"A source's weight is {self.weight}; it must be a number above 0, and 1 is usual.")
        if self.format == "tsv" and not all(type(side) is int and side >= 1 for side in (self.source, self.target)):
            raise CutawayError(
                f"source is {self.source!r} and target is {self.target!r}. In a TSV file they are columns, counted from 1."
            )

    @property
    def format(self) -> PairFormat:
        """How the file is read, by what is named and the extension."""
        if self.target_files is not None:
            return "lines"
        inner = (
            self.files.removesuffix(Path(self.files).suffix)
            if self.files.endswith((".xz", ".gz", ".bz2"))
            else self.files
        )
        return "jsonl" if inner.endswith((".jsonl", ".ndjson")) else "tsv"

    @property
    def name(self) -> str:
        """What messages call this source."""
        return self.files if self.target_files is None else f"{self.files} and {self.target_files}"

    def paths(self) -> list[Path]:
        """The one file, or the two. Raises `CutawayError` for a missing one."""
        named = [self.files] if self.target_files is None else [self.files, self.target_files]
        return [_existing(self.folder / Path(name).expanduser()) for name in named]


def read_pairs(source: PairSource) -> Iterator[Pair]:
    """The pairs of a source, in order.

    Raises `CutawayError`, with file and line: a missing file, bytes that are not UTF-8, files of unequal length, an empty
    side, a missing column or field, or no pair at all.
    """
    readers = {"tsv": _of_tsv, "jsonl": _of_jsonl, "lines": _of_lines}
    is_empty = True
    for pair in readers[source.format](source):
        is_empty = False
        for side, text in (("source", pair.source), ("target", pair.target)):
            if not text.strip():
                raise CutawayError(
                    f"The {side} is empty at {pair.place}. Take the pair out, or fill it: an empty line mostly means that "
                    "source and target are no longer aligned."
                )
        yield pair
    if is_empty:
        raise CutawayError(f"There is no pair in {source.name}: nothing to learn from.")


def _of_tsv(source: PairSource) -> Iterator[Pair]:
    (path,) = source.paths()
    assert isinstance(source.source, int), "checked at construction"
    assert isinstance(source.target, int), "checked at construction"
    needed = max(source.source, source.target)
    with open_text(path) as file:
        for number, line in enumerate(read_lines(path, file), start=1):
            columns = line.split("\t")
            if len(columns) < needed:
                raise CutawayError(
                    f"{path}:{number} has {len(columns)} column(s), and column {needed} was asked for. Tabs part columns."
                )
            yield Pair(columns[source.source - 1], columns[source.target - 1], f"{path}:{number}")


def _of_jsonl(source: PairSource) -> Iterator[Pair]:
    (path,) = source.paths()
    fields = [side if isinstance(side, str) else name for side, name in _sides(source)]
    for record, place in read_records(path, fields):
        texts = [string_of(record[field], f"Field '{field}' of {place}") for field in fields]
        yield Pair(texts[0], texts[1], place)


def _of_lines(source: PairSource) -> Iterator[Pair]:
    first, second = source.paths()
    with open_text(first) as sources, open_text(second) as targets:
        lines = zip_longest(read_lines(first, sources), read_lines(second, targets))
        for number, (one, other) in enumerate(lines, start=1):
            if one is None or other is None:
                ended, going = (first, second) if one is None else (second, first)
                raise CutawayError(
                    f"{ended} ends after line {number - 1:,}, and {going} goes on with line {number:,}. Two aligned files "
                    "have equally many lines."
                )
            yield Pair(one, other, f"{first}:{number}")


def _sides(source: PairSource) -> tuple[tuple[str | int, str], tuple[str | int, str]]:
    return (source.source, "source"), (source.target, "target")


def _existing(path: Path) -> Path:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CutawayError(f"The file '{path}' {what}. Name a file with pairs.")
    return path
