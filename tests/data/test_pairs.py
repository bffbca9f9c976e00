"""Pairs of texts from three forms of files, and every mistake in them with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cutaway.data import PairSource, read_pairs
from cutaway.errors import CutawayError

PAIRS = [("Guten Morgen!", "Good morning!"), ("Wie geht's?", "How are you?"), ("Ja — nein", "Yes — no")]


def texts(source: PairSource) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in read_pairs(source)]


def write(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def written(folder: Path) -> dict[str, PairSource]:
    """The same pairs in every form."""
    write(folder, "a.tsv", "".join(f"{target}\t{source}\tCC-BY\n" for source, target in PAIRS))
    write(folder, "a.tsv.gz", gzip.compress((folder / "a.tsv").read_bytes()))
    lines = "\n\n".join(json.dumps({"de": source, "en": target}) for source, target in PAIRS)
    write(folder, "a.jsonl", lines)
    write(folder, "a.de", "\ufeff" + "\r\n".join(source for source, _ in PAIRS))
    write(folder, "a.en", "\n".join(target for _, target in PAIRS) + "\n")
    return {
        "tsv": PairSource(files="a.tsv", source=2, target=1, folder=folder),
        "packed tsv": PairSource(files="a.tsv.gz", source=2, target=1, folder=folder),
        "jsonl": PairSource(files="a.jsonl", source="de", target="en", folder=folder),
        "two files": PairSource(files="a.de", target_files="a.en", folder=folder),
    }


@pytest.mark.parametrize("form", ["tsv", "packed tsv", "jsonl", "two files"])
def test_every_form_gives_the_same_pairs(form: str, tmp_path: Path) -> None:
    assert texts(written(tmp_path)[form]) == PAIRS


def test_a_place_is_file_and_line(tmp_path: Path) -> None:
    pairs = list(read_pairs(written(tmp_path)["jsonl"]))
    assert [pair.place.removeprefix(str(tmp_path)) for pair in pairs] == ["/a.jsonl:1", "/a.jsonl:3", "/a.jsonl:5"]


TWO = {"files": "a", "target_files": "b"}
MISTAKES = {
    "one side is shorter": (
        {"a": "x\ny\nz", "b": "x\ny"},
        {"files": "a", "target_files": "b"},
        "b ends after line 2, and .*line 3",
    ),
    "the other is": (
        {"a": "x\ny", "b": "x\ny\nz"},
        {"files": "a", "target_files": "b"},
        "a ends after line 2, and .*line 3",
    ),
    "an empty line": ({"a": "x\n\nz", "b": "x\ny\nz"}, TWO, "source is empty at .*a:2"),
    "an empty target": ({"a.tsv": "x\ty\nx\t \n"}, {"files": "a.tsv"}, "target is empty at .*a.tsv:2"),
    "a missing column": ({"a.tsv": "x\ty\nx\n"}, {"files": "a.tsv"}, "a.tsv:2 has 1 column.*column 2"),
    "a missing field": ({"a.jsonl": '{"source": "x"}'}, {"files": "a.jsonl"}, "a.jsonl:1 has no field 'target'"),
    "no object": ({"a.jsonl": "[1]"}, {"files": "a.jsonl"}, "a.jsonl:1 holds a JSON list"),
    "no JSON": ({"a.jsonl": '{"source": "x", "target": "y"}\n{'}, {"files": "a.jsonl"}, "a.jsonl:2 is not valid JSON"),
    "no text": ({"a.jsonl": '{"source": 3, "target": "y"}'}, {"files": "a.jsonl"}, "a.jsonl:1 holds int 3"),
    "another encoding": (
        {"a.tsv": b"x\ty\nGr\xfc\xdfe\tz\n"},
        {"files": "a.tsv"},
        "a.tsv' is not UTF-8 .* offset 6",
    ),
    "nothing": ({"a.tsv": ""}, {"files": "a.tsv"}, "There is no pair in a.tsv"),
    "a missing file": ({}, {"files": "a.tsv"}, "a.tsv' does not exist"),
    "a missing half": ({"a": "x"}, TWO, "b' does not exist"),
    "a cut archive": ({"a.tsv.gz": gzip.compress(b"x\ty\n" * 99)[:-9]}, {"files": "a.tsv.gz"}, "cannot be read"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place(case: str, tmp_path: Path) -> None:
    contents, knobs, message = MISTAKES[case]
    for name, content in contents.items():
        write(tmp_path, name, content)
    with pytest.raises(CutawayError, match=message):
        texts(PairSource(folder=tmp_path, **knobs))


@pytest.mark.parametrize("knobs", [{"source": "de"}, {"target": 0}, {"weight": 0.0}])
def test_impossible_settings_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(CutawayError, match=r"columns, counted from 1|above 0"):
        PairSource(files="a.tsv", **knobs)  # type: ignore[arg-type]
