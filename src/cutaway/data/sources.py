"""Files -> documents. In: a `Source`: paths or globs of text, JSON-lines or Parquet files, plain or compressed. Out: strings.

A document is what one text says from its beginning to its end: a file, a part of a file between separators, a JSON line, a
row of a Parquet table. Documents come in the order of the named paths, a glob's matches sorted, so that the same files
always give the same corpus.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import CutawayError, near

Format = Literal["text", "jsonl", "parquet"]
_FORMATS: tuple[Format, ...] = ("text", "jsonl", "parquet")
_FORMAT_OF_SUFFIX: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_UNREADABLE = {".zst": "zstd -d", ".zip": "unzip", ".7z": "7z x", ".tar": "tar -xf"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where documents come from.

    files: a path or glob, or several, relative to `folder` (`**` crosses folders). format: None goes by each file's
    extension (.jsonl and .ndjson, .parquet, anything else is text), after .xz, .gz or .bz2, which are read directly.
    field: the JSON field or Parquet column that holds the text. separator: what parts the documents of one text file, for
    example "<|endoftext|>" (line breaks beside it are dropped); None: a file is one document, unchanged.
    weight: how many times the text of this source is read while text of weight 1 is read once. Raises `CutawayError`.
    """

    files: str | tuple[str, ...]
    folder: Path = Path()
    format: Format | None = None
    field: str = "text"
    separator: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.files:
            raise CutawayError("A source names no files. Name at least one path or glob in `files`.")
        if self.format is not None and self.format not in _FORMATS:
            raise CutawayError(f"'{self.format}' is not a format of a source.{near(self.format, _FORMATS)}")
        if not 0 < self.weight < float("inf"):
            raise CutawayError(f"A source's weight is {self.weight}; it must be a number above 0, and 1 is usual.")
        if self.separator == "":
            raise CutawayError("A source's separator is empty; leave it out to read each file as one document.")

    @property
    def patterns(self) -> tuple[str, ...]:
        """`files`, always as a tuple."""
        return (self.files,) if isinstance(self.files, str) else self.files

    @property
    def name(self) -> str:
        """What messages call this source."""
        return ", ".join(self.patterns)

    def paths(self) -> list[Path]:
        """Every file of this source, in the order in which it is read, each once.

        Raises `CutawayError` for a missing file, a folder, or a glob that matches nothing.
        """
        found = (path for pattern in self.patterns for path in _matches(self.folder, pattern))
        return list(dict.fromkeys(found))


def read_documents(source: Source, on_empty: Callable[[str], None] | None = None) -> Iterator[str]:
    """The documents of a source, one after the other; those without any text are skipped.

    on_empty: called with the place ("stories.jsonl:17") of each document that was skipped.
    Raises `CutawayError`: a missing or broken file, bytes that are not UTF-8 text, a JSON line or table without the field,
    or a source in which every document is empty.
    """
    any_text = False
    for path in source.paths():
        for place, text in _read(source, path):
            if text.strip():
                any_text = True
                yield text
            elif on_empty is not None:
                on_empty(place)
    if not any_text:
        raise CutawayError(
            f"There is no text in {source.name} (folder {source.folder.resolve()}): nothing to learn from."
        )


def read_text(path: Path) -> str:
    """A whole text file, unpacked where it is .xz, .gz or .bz2. Raises `CutawayError` where it is missing, cut, or no text."""
    with open_text(path) as file:
        return _decoded(path, file.read().removeprefix(_BYTE_ORDER_MARK), offset=0)


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked where it is .xz, .gz or .bz2. Raises `CutawayError` where it cannot be read to its end."""
    if path.suffix.lower() in _UNREADABLE:
        command = _UNREADABLE[path.suffix.lower()]
        raise CutawayError(
            f"'{path}' cannot be read directly. Unpack it with `{command} {path}`, or use .xz, .gz or .bz2."
        )
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CutawayError(f"The file '{path}' {what}. Name a text file.")
    opener = _OPENERS.get(path.suffix.lower())
    try:
        with opener(path, "rb") if opener else path.open("rb") as file:
            yield file
    except (lzma.LZMAError, EOFError, gzip.BadGzipFile, OSError) as error:
        raise CutawayError(
            f"'{path}' cannot be read ({error}). It may be cut off or damaged: fetch it again."
        ) from error


def read_lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """The lines of a file without their ends. Raises `CutawayError` for bytes that are no UTF-8 text, with their place."""
    offset = 0
    for line in file:
        text = _decoded(path, line, offset)
        yield (text.removeprefix("\ufeff") if offset == 0 else text).rstrip("\r\n")
        offset += len(line)


def read_objects(source: Source, example: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of JSON-lines files, whatever their names end with, each with its place: see `read_records`.

    example: an object that would do, for errors. Raises `CutawayError` too where no line holds an object.
    """
    is_empty = True
    for path in source.paths():
        for found in read_records(path, (), example):
            is_empty = False
            yield found
    if is_empty:
        raise CutawayError(f"{source.name} (folder {source.folder.resolve()}) holds no line with an object: {example}.")


def read_records(path: Path, fields: Sequence[str], example: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a JSON-lines file, each with its place ("pairs.jsonl:17"); empty lines are passed over.

    fields: what every object must have. example: an object that would do; "": one made of the fields. Raises `CutawayError`, with
    the place, for a line that is none.
    """
    example = example or "{" + ", ".join(f'"{field}": "..."' for field in fields) + "}"
    with open_text(path) as file:
        for number, line in enumerate(read_lines(path, file), start=1):
            if line.strip():
                place = f"{path}:{number}"
                yield _record(line, fields, place, example), place


def string_of(value: Any, place: str) -> str:
    """A text; nothing counts as an empty one. Raises `CutawayError` for any other value."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CutawayError(f"{place} holds {type(value).__name__} {value!r:.40}, not text. Choose another field.")
    return value


def _record(line: str, fields: Sequence[str], place: str, example: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        what = (
            f"{error.msg} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else "it is nested too deep"
        )
        raise CutawayError(f"{place} is not valid JSON ({what}). One object a line.") from None
    if not isinstance(record, dict):
        raise CutawayError(f"{place} holds a JSON {type(record).__name__}, not an object such as {example}.")
    for field in fields:
        if field not in record:
            raise CutawayError(
                f"{place} has no field '{field}'.{near(field, record)} Name the field that holds the text."
            )
    return record


def _matches(folder: Path, pattern: str) -> list[Path]:
    path = folder / Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise CutawayError(f"'{path}' is a folder. Name the files in it, for example '{pattern.rstrip('/')}/*.txt'.")
    if not any(character in pattern for character in "*?["):
        others = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = near(path.name, others) if others else f" The folder '{path.parent}' does not exist either."
        raise CutawayError(f"The file '{path}' does not exist.{hint}")
    matches = sorted(match for match in _glob(path) if match.is_file())
    if not matches:
        raise CutawayError(f"No file matches '{path}'. Check the folder and the pattern ('**' crosses folders).")
    return matches


def _glob(path: Path) -> Iterable[Path]:
    """Matches of a path whose parts may be patterns, absolute or not: from the deepest folder without a pattern."""
    parts = path.parts
    first = next(index for index, part in enumerate(parts) if any(character in part for character in "*?["))
    return Path(*parts[:first]).glob(str(Path(*parts[first:])))


def _read(source: Source, path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every document of one file."""
    opener = _OPENERS.get(path.suffix.lower())
    inner = path.with_suffix("") if opener else path
    file_format = source.format or _FORMAT_OF_SUFFIX.get(inner.suffix.lower(), "text")
    if file_format == "parquet":
        yield from _read_parquet(path, source.field)
    elif file_format == "jsonl":
        for record, place in read_records(path, [source.field]):
            yield place, string_of(record[source.field], f"Field '{source.field}' of {place}")
    else:
        yield from _read_text(path, source)


def _read_text(path: Path, source: Source) -> Iterator[tuple[str, str]]:
    text = read_text(path)
    if source.separator is None:
        yield str(path), text
        return
    parts = text.split(source.separator)
    # What stands after the last separator is mostly nothing: that is how such files end, not an empty document.
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    for number, part in enumerate(parts, start=1):
        yield f"{path}, document {number}", part.strip("\r\n")


def _read_parquet(path: Path, field: str) -> Iterator[tuple[str, str]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise CutawayError(f"Reading '{path}' takes pyarrow. Install it with: pip install 'cutaway[parquet]'") from None
    try:
        table = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise CutawayError(f"'{path}' is not a readable Parquet file ({error}). Fetch it again.") from error
    with table:
        names = table.schema_arrow.names
        if field not in names:
            hint = near(field, names)
            raise CutawayError(
                f"'{path}' has no column '{field}'.{hint} Name the column that holds the text in `field`."
            )
        number = 0
        for rows in table.iter_batches(columns=[field], batch_size=1024):
            for value in rows.column(0).to_pylist():
                number += 1
                yield f"{path}, row {number}", string_of(value, f"Column '{field}' of {path}, row {number}")


def _decoded(path: Path, content: bytes, offset: int) -> str:
    """UTF-8 text, or an error that names the first byte that cannot be text. offset: where `content` starts in the file."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        position, byte = offset + error.start, content[error.start]
        raise CutawayError(
            f"'{path}' is not UTF-8 text: byte 0x{byte:02x} at offset {position:,}. If it is text in another encoding, convert "
            f"it: iconv -f latin1 -t utf-8 '{path}' > converted.txt. If it is not text, take it out of the source."
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        position = offset + len(text[:nul].encode())
        raise CutawayError(f"'{path}' is binary: a zero byte at offset {position:,}. Take the file out of the source.")
    return text
