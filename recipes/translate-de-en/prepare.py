"""Tatoeba's German-English pairs -> train.tsv, valid.tsv and test.tsv (German, tab, English). In: deu-eng.zip. Out: three files.

No sentence of the test or validation pairs, source or target, occurs in training: sentences that translate each other, in
however many steps, form a family, and families are held out whole. Two sentences are the same here when they differ in case,
punctuation and spaces only. Which families are held out depends on a hash of their sentences, not on their order in the file.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

SHA256 = "b7688f84f99fa33c17397c14d8bd9cef1fdeb2ee0bf50074767023aee8926e28"
MEMBER = "deu.txt"
NUM_TEST, NUM_VALID = 2000, 1000
LARGEST_FAMILY = 40  # pairs; a larger family ("Yes.", "What?") would take too much from training
Pair = tuple[str, str]


def main(words: Sequence[str] | None = None) -> int:
    """Read, split, write, and say how many there are."""
    arguments = parse(words)
    if not arguments.pairs.is_file():
        print(
            f"{arguments.pairs} does not exist. README.md beside this file says where it comes from.", file=sys.stderr
        )
        return 2
    found = hashlib.sha256(arguments.pairs.read_bytes()).hexdigest()
    if found != SHA256 and not arguments.any_version:
        print(f"{arguments.pairs} has the checksum {found}, not {SHA256}. Use --any-version to go on.", file=sys.stderr)
        return 2
    with zipfile.ZipFile(arguments.pairs) as archive:
        pairs = list(dict.fromkeys(read(archive.read(MEMBER).decode("utf-8"))))
    parts = split(pairs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        lines = "".join(f"{german}\t{english}\n" for german, english in part)
        (arguments.out / f"{name}.tsv").write_text(lines, "utf-8")
        print(f"{name}: {len(part):,} pairs, {len({german for german, _ in part}):,} German sentences")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the training, validation and test pairs of translate-de-en.")
    parser.add_argument("--pairs", type=Path, required=True, help="deu-eng.zip")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="where the files go")
    parser.add_argument("--any-version", action="store_true", help="take another version of the file too")
    return parser.parse_args(words)


def read(text: str) -> Iterator[Pair]:
    """(German, English) of every line, spaces made plain."""
    for line in text.splitlines():
        english, german = (" ".join(unicodedata.normalize("NFC", side).split()) for side in line.split("\t")[:2])
        yield german, english


def split(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The three parts. The test has one pair of each German sentence; the rest of its families goes nowhere."""
    families = gather(pairs)
    ordered = sorted((family for family in families if len(family) <= LARGEST_FAMILY), key=order)
    parts: dict[str, list[Pair]] = {"test": [], "valid": []}
    held: set[Pair] = set()
    for name, wanted in (("test", NUM_TEST), ("valid", NUM_VALID)):
        while len(parts[name]) < wanted:
            family = ordered.pop()
            held.update(family)
            parts[name] += one_of_each(family)
        parts[name] = parts[name][:wanted]
    return {"train": [pair for pair in pairs if pair not in held], **parts}


def gather(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The families: pairs that are joined by a sentence, directly or through others."""
    leader: dict[tuple[int, str], tuple[int, str]] = {}

    def lead(node: tuple[int, str]) -> tuple[int, str]:
        while leader.setdefault(node, node) != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for german, english in pairs:
        leader[lead((0, plain(german)))] = lead((1, plain(english)))
    families: defaultdict[tuple[int, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        families[lead((0, plain(pair[0])))].append(pair)
    return list(families.values())


def one_of_each(family: Sequence[Pair]) -> list[Pair]:
    """One pair of each German sentence, chosen by hash."""
    best: dict[str, Pair] = {}
    for pair in sorted(family, key=lambda pair: digest("\t".join(pair))):
        best.setdefault(plain(pair[0]), pair)
    return list(best.values())


def order(family: Sequence[Pair]) -> str:
    """What families are sorted by: chance that stays the same."""
    return min(digest(plain(german)) for german, _ in family)


def plain(sentence: str) -> str:
    """A sentence without case, punctuation and outer spaces."""
    return " ".join(re.findall(r"\w+", sentence.casefold()))


def digest(text: str) -> str:
    """A hash of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
