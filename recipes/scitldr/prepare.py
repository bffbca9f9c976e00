"""SciTLDR's abstracts and their one-sentence summaries -> pairs to train on, pairs held out, and the test.

In: train.jsonl and dev.jsonl of SciTLDR-A (github.com/allenai/scitldr at 5ccad9c00a60ad75c9e04abf7f27d0f53f983b20, folder
SciTLDR-Data/SciTLDR-A; Apache-2.0; Cachola et al. 2020). Out: train.jsonl and valid.jsonl, {source, target} with one text each:
one paper in twenty of SciTLDR's training part is held out, by a hash of its text; test.jsonl: SciTLDR's dev part, sentences and
all references, with which nothing is chosen. A paper whose abstract stands in dev too, or stood in train before, is left out.

    python recipes/scitldr/prepare.py --folder SciTLDR-A
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHA256 = {
    "train.jsonl": "b222771d387be585cfdf5ae957b36757138415a352e0a3e3b23f73f87c3b1119",
    "dev.jsonl": "3191fa98ccc09521332b7a1cd63b1930be4e8df125a235ccd31e40329709525e",
}
HELD_OUT = 20  # one paper in so many
Paper = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Read, split, write, and say how many there are."""
    arguments = parse(words)
    files = {name: arguments.folder / name for name in SHA256}
    for name, path in files.items():
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if found is None or (found != SHA256[name] and not arguments.any_version):
            what = "does not exist" if found is None else f"has the checksum {found}, not {SHA256[name]}"
            print(f"{path} {what}. --any-version takes another version.", file=sys.stderr)
            return 2
    parts = split(*(read(path) for path in files.values()))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        lines = "".join(json.dumps(paper, ensure_ascii=False) + "\n" for paper in part)
        (arguments.out / f"{name}.jsonl").write_text(lines, "utf-8")
        print(f"{name}: {len(part):,}")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the training, validation and test parts of the scitldr recipes.")
    parser.add_argument(
        "--folder", type=Path, required=True, help="the folder SciTLDR-A, with train.jsonl and dev.jsonl"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="where the files go")
    parser.add_argument("--any-version", action="store_true", help="take other versions of the files too")
    return parser.parse_args(words)


def read(path: Path) -> list[Paper]:
    """The papers: their sentences and summaries, those without text left out, spaces made plain."""
    papers = []
    for line in path.read_text("utf-8").splitlines():
        paper = json.loads(line)
        papers.append({side: [text for given in paper[side] if (text := " ".join(given.split()))] for side in SIDES})
    return [paper for paper in papers if all(paper[side] for side in SIDES)]


SIDES = ("source", "target")


def split(train: Sequence[Paper], dev: Sequence[Paper]) -> dict[str, list[Paper]]:
    """The three parts. No abstract stands in two of them."""
    parts: dict[str, list[Paper]] = {"train": [], "valid": [], "test": list(dev)}
    seen = {plain(paper) for paper in dev}
    for paper in train:
        text = plain(paper)
        if text in seen:
            continue
        seen.add(text)
        part = "valid" if int(hashlib.sha256(text.encode("utf-8")).hexdigest(), 16) % HELD_OUT == 0 else "train"
        parts[part] += [{"source": " ".join(paper["source"]), "target": target} for target in paper["target"]]
    return parts


def plain(paper: Paper) -> str:
    """An abstract without case, punctuation and spaces."""
    return " ".join(re.findall(r"\w+", " ".join(paper["source"]).casefold()))


if __name__ == "__main__":
    sys.exit(main())
