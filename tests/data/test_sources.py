"""Files -> documents: every format and compression gives the same documents, and every fault names its place."""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from cutaway.data import Source, read_documents
from cutaway.errors import CutawayError

DOCUMENTS = ["The cat sat.", "Größe, naïve: 猫\n\nsecond paragraph", "  last one "]


def write_parquet(path: Path, column: str, values: list[object]) -> None:
    pyarrow.parquet.write_table(pyarrow.table({column: values}), path)


def as_jsonl(documents: list[str], field: str = "text") -> bytes:
    return "".join(json.dumps({field: text, "n": 1}, ensure_ascii=False) + "\n" for text in documents).encode()


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(as_jsonl(DOCUMENTS)),
    "a.ndjson": lambda path: path.write_bytes(b"\xef\xbb\xbf" + as_jsonl(DOCUMENTS)),
    "a.jsonl.xz": lambda path: path.write_bytes(lzma.compress(as_jsonl(DOCUMENTS))),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(as_jsonl(DOCUMENTS))),
    "a.parquet": lambda path: write_parquet(path, "text", list(DOCUMENTS)),
    "a.txt": lambda path: path.write_text("\n<|end|>\n".join(DOCUMENTS), encoding="utf-8"),
    "a.txt.xz": lambda path: path.write_bytes(lzma.compress("\n<|end|>\n".join([*DOCUMENTS, ""]).encode())),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert list(read_documents(Source(files=name, folder=tmp_path, separator="<|end|>"))) == DOCUMENTS


def test_a_text_file_without_separator_is_one_unchanged_document(tmp_path: Path) -> None:
    text = "First\r\nsecond\n\n"
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(read_documents(Source(files="a.md", folder=tmp_path))) == [text]


def test_the_format_can_be_named_where_the_extension_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(as_jsonl(DOCUMENTS, field="story"))
    source = Source(files="a.txt", folder=tmp_path, format="jsonl", field="story")
    assert list(read_documents(source)) == DOCUMENTS


def test_globs_are_sorted_and_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "deep/er/c.txt"):
        (tmp_path / name).write_text(name)
    assert list(read_documents(Source(files=("b.txt", "*.txt", "**/c.txt"), folder=tmp_path))) == [
        "b.txt",
        "a.txt",
        "deep/er/c.txt",
    ]
    assert list(read_documents(Source(files=f"{tmp_path}/*.txt"))) == ["a.txt", "b.txt"]


def test_empty_documents_are_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_jsonl(["one", "", " \n", "two"]) + b"\n")
    empty: list[str] = []
    assert list(read_documents(Source(files="a.jsonl", folder=tmp_path), empty.append)) == ["one", "two"]
    assert empty == [f"{tmp_path}/a.jsonl:2", f"{tmp_path}/a.jsonl:3"]


def test_null_in_a_table_is_an_empty_document(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", "text", ["one", None])
    empty: list[str] = []
    assert list(read_documents(Source(files="a.parquet", folder=tmp_path), empty.append)) == ["one"]
    assert empty == [f"{tmp_path}/a.parquet, row 2"]


FAULTS: dict[str, tuple[bytes, dict[str, str], list[str]]] = {
    "not utf-8": (b"abc\n" * 5 + b"\xffdef", {"files": "a.txt"}, ["a.txt", "0xff", "offset 20", "iconv"]),
    "a zero byte": ("é".encode() + b"\0", {"files": "a.txt"}, ["a.txt", "binary", "offset 2"]),
    "not utf-8 in a later line": (b'{"text": "a"}\n\xfe', {"files": "a.jsonl"}, ["0xfe", "offset 14"]),
    "bad json": (b'{"text": "a"}\n{"text": }\n', {"files": "a.jsonl"}, ["a.jsonl:2", "not valid JSON", "column 10"]),
    "not an object": (b"[1]\n", {"files": "a.jsonl"}, ["a.jsonl:1", "list"]),
    "no field": (b'{"texts": "a"}\n', {"files": "a.jsonl"}, ["a.jsonl:1", "'text'", "Did you mean 'texts'?"]),
    "a field of numbers": (b'{"text": 3}\n', {"files": "a.jsonl"}, ["a.jsonl:1", "int 3"]),
    "an empty file": (b"", {"files": "a.txt"}, ["no text", "a.txt"]),
    "only spaces": (b" \n ", {"files": "a.txt"}, ["no text"]),
    "a cut-off archive": (lzma.compress(b"abc" * 99)[:-20], {"files": "a.txt.xz"}, ["a.txt.xz", "cut off"]),
    "not an archive": (b"abc", {"files": "a.txt.gz"}, ["a.txt.gz", "damaged"]),
    "another archive": (b"abc", {"files": "a.jsonl.zst"}, ["a.jsonl.zst", "zstd -d"]),
    "not a table": (b"abc", {"files": "a.parquet"}, ["a.parquet", "not a readable Parquet"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_file_names_its_place(tmp_path: Path, name: str) -> None:
    content, arguments, expected = FAULTS[name]
    (tmp_path / arguments["files"]).write_bytes(content)
    with pytest.raises(CutawayError) as error:
        list(read_documents(Source(folder=tmp_path, files=arguments["files"])))
    for part in expected:
        assert part in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("a")
    for files, expected in (
        ("stroy.txt", "Did you mean 'story.txt'?"),
        ("no/where.txt", "does not exist either"),
        ("*.jsonl", "No file matches"),
        (".", "is a folder"),
    ):
        with pytest.raises(CutawayError, match=r"[fF]ile") as error:
            list(read_documents(Source(files=files, folder=tmp_path)))
        assert expected in str(error.value)


def test_a_table_without_the_column_names_the_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", "story", ["one"])
    with pytest.raises(CutawayError, match=r"no column 'text'.*Allowed: story"):
        list(read_documents(Source(files="a.parquet", folder=tmp_path)))


def test_without_pyarrow_the_message_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", "text", ["one"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CutawayError, match=r"pip install 'cutaway\[parquet\]'"):
        list(read_documents(Source(files="a.parquet", folder=tmp_path)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": ()}, "names no files"),
        ({"files": "a", "format": "jsonlines"}, "Did you mean 'jsonl'"),
        ({"files": "a", "weight": 0}, "above 0"),
        ({"files": "a", "weight": float("nan")}, "above 0"),
        ({"files": "a", "separator": ""}, "separator is empty"),
    ],
)
def test_impossible_sources_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        Source(**arguments)  # type: ignore[arg-type]
