"""Public-domain books and simple stories -> the training text of the bundled model `stories`.

In: the books as an archive or a folder of Markdown files (`books.tsv` names each with its checksum and its group), and the
TinyStories sample (one file, documents parted by `<|endoftext|>`). Out, in one folder: `children.jsonl`, `classics.jsonl`,
`stories.jsonl` to train on (one {"text": ...} a line), and `<group>.heldout.jsonl` / `.txt`: whole books and about 5 % of
the stories, never trained on. Each story to train on stands there several times, with other names (`retell.py`). README.md
beside this file says where both come from and what is done to them.

    python recipes/stories/prepare.py --books books.tar.xz --stories tinystories_sample.txt --out recipes/stories/data
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from clean import clean_book, clean_story, sentences
from retell import tellings, with_openings_of_their_own

HERE = Path(__file__).parent
GROUPS = ("children", "classics", "stories")
COUNTED_WORDS = ("cat", "dog", "apple", "bicycle", "love", "chased", "I", "you")
STORY_SEPARATOR = "<|endoftext|>"
STORIES_SHA256 = "5352b299dcb1a32898b2d779b145b5a05f3e1265953fd21c264c9f9f9c9ae33d"
LARGEST_SHARED_PART = 0.3  # of a document's sentences that an earlier document may hold before it counts as a copy
HELD_OUT_STORIES = 20  # one in so many


def main() -> None:
    """Reads both sources, writes the files and prints what they hold."""
    arguments = _arguments()
    documents: dict[str, list[str]] = {group + held: [] for held in ("", ".heldout") for group in GROUPS}
    for group, text in (*_stories(arguments.stories), *_books(arguments.books)):
        documents[group].append(text)
    documents = _without_copies(documents)
    documents["stories"] = with_openings_of_their_own(documents["stories"])
    _report(documents)
    documents["stories"] = tellings(documents["stories"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for group, texts in documents.items():
        _write(arguments.out, group, texts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Makes the training text of the bundled model `stories`.")
    parser.add_argument("--books", type=Path, required=True, help="a .tar.xz archive or a folder of the Markdown books")
    parser.add_argument("--stories", type=Path, required=True, help="the TinyStories sample, .txt or .txt.xz")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    arguments = parser.parse_args()
    for path in (arguments.books, arguments.stories):
        if not path.exists():
            sys.exit(f"{path} does not exist; recipes/stories/README.md says where to get it.")
    return arguments


def _books(source: Path) -> Iterator[tuple[str, str]]:
    """(group, document) of every book that books.tsv names; a book that is missing or was changed ends the run."""
    files = dict(_tar_files(source) if source.is_file() else _folder_files(source))
    for line in (HERE / "books.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        group, sha256, path = line.split("\t")
        if group.startswith("dropped"):
            continue
        content = files.get(path.replace("/", "__"))
        if content is None or hashlib.sha256(content).hexdigest() != sha256:
            found = "is missing from" if content is None else "has another checksum in"
            sys.exit(f"'{path}' {found} {source}; recipes/stories/README.md names the commit to take.")
        for document in clean_book(content.decode("utf-8")):
            yield group, document


def _tar_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".md"):
                yield member.name.removeprefix("./").replace("/", "__"), content.read()


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*.md"):
        yield path.relative_to(folder).as_posix().replace("/", "__"), path.read_bytes()


def _stories(source: Path) -> Iterator[tuple[str, str]]:
    content = lzma.decompress(source.read_bytes()) if source.suffix == ".xz" else source.read_bytes()
    if hashlib.sha256(content).hexdigest() != STORIES_SHA256:
        sys.exit(f"{source} has another checksum; recipes/stories/README.md names the file to take.")
    for text in content.decode("utf-8").split(STORY_SEPARATOR):
        story = clean_story(text)
        if story is not None:
            is_held_out = int(hashlib.sha256(story.encode()).hexdigest(), 16) % HELD_OUT_STORIES == 0
            yield "stories" + (".heldout" if is_held_out else ""), story


def _without_copies(documents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Drops documents that share sentences with earlier ones, held-out ones first: what is held out is nowhere else."""
    seen: set[int] = set()
    kept: dict[str, list[str]] = {}
    for group in sorted(documents, key=lambda name: not name.endswith(".heldout")):
        kept[group] = []
        for text in documents[group]:
            hashes = {hash(sentence) for sentence in sentences(text)}
            if len(hashes & seen) <= LARGEST_SHARED_PART * len(hashes):
                kept[group].append(text)
                seen |= hashes
        print(f"{group}: {len(documents[group]) - len(kept[group])} near-copies dropped")
    return kept


def _write(folder: Path, group: str, texts: list[str]) -> None:
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / f"{group}.jsonl").write_text(lines, encoding="utf-8")
    if group.endswith(".heldout"):
        (folder / f"{group}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def _report(documents: dict[str, list[str]]) -> None:
    print(f"{'group':<18}{'documents':>10}{'bytes':>13}{'words':>12}" + "".join(f"{word:>9}" for word in COUNTED_WORDS))
    for group, texts in documents.items():
        num_bytes = sum(len(text.encode()) for text in texts)
        num_words = sum(len(text.split()) for text in texts)
        counts = "".join(f"{_count(word, texts):>9,}" for word in COUNTED_WORDS)
        print(f"{group:<18}{len(texts):>10,}{num_bytes:>13,}{num_words:>12,}{counts}")


def _count(word: str, texts: Iterable[str]) -> int:
    pattern = re.compile(rf"\b{word}\b", 0 if word == "I" else re.IGNORECASE)
    return sum(len(pattern.findall(text)) for text in texts)


if __name__ == "__main__":
    main()
