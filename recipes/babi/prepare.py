"""bAbI's 10,000 questions a task -> train/, valid/ and test/, a file for each task. In: the folder en-10k. Out: three folders.

The last stories of every training file, one in `HELD`, are held out to look at while training; the test files are as they are.
A task whose training file is not there (task 3 is too large for the repository that carries the others) is left out of all three.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
HELD = 40
STORY = re.compile(r"^(?=1 )", re.MULTILINE)


def main(words: Sequence[str] | None = None) -> int:
    """Check, split, write, and say how many there are."""
    arguments = parse(words)
    tasks = [number for number in range(1, 21) if file_of(arguments.tasks, number, "train") is not None]
    if not tasks:
        print(
            f"{arguments.tasks} holds no file qa*_train.txt. README.md beside this file says where they are.",
            file=sys.stderr,
        )
        return 2
    changed = [] if arguments.any_version else list(unknown(arguments.tasks, tasks))
    if changed:
        print(f"{', '.join(changed)}: other checksums than in files.tsv. Use --any-version to go on.", file=sys.stderr)
        return 2
    for number in tasks:
        stories = [story for story in STORY.split(text_of(arguments.tasks, number, "train")) if story]
        num_held = max(1, len(stories) // HELD)
        parts = {"train": stories[:-num_held], "valid": stories[-num_held:]}
        parts["test"] = [text_of(arguments.tasks, number, "test")]
        for name, part in parts.items():
            path = arguments.out / name / f"qa{number:02d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(part), "utf-8")
        counts = ", ".join(f"{''.join(part).count('?'):,} to {name}" for name, part in parts.items())
        print(f"task {number}: {counts}")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the training, validation and test questions of babi.")
    parser.add_argument(
        "--tasks", type=Path, required=True, help="the folder with qa1_single-supporting-fact_train.txt"
    )
    parser.add_argument("--out", type=Path, default=HERE / "data", help="where the folders go")
    parser.add_argument("--any-version", action="store_true", help="take another version of the files too")
    return parser.parse_args(words)


def file_of(folder: Path, number: int, part: str) -> Path | None:
    """The file of a task, if it is there."""
    return next(iter(sorted(folder.glob(f"qa{number}_*_{part}.txt"))), None)


def text_of(folder: Path, number: int, part: str) -> str:
    """The text of a task's file. Raises FileNotFoundError with its name."""
    path = file_of(folder, number, part)
    if path is None:
        raise FileNotFoundError(f"{folder}/qa{number}_*_{part}.txt does not exist")
    return path.read_text("utf-8")


def unknown(folder: Path, tasks: Sequence[int]) -> Iterator[str]:
    """The files that are not those of files.tsv."""
    known = dict(line.split("\t") for line in (HERE / "files.tsv").read_text("utf-8").splitlines())
    for number in tasks:
        for path in (file_of(folder, number, part) for part in ("train", "test")):
            if path is not None and known.get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest():
                yield path.name


if __name__ == "__main__":
    sys.exit(main())
