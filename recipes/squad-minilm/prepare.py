"""Questions of SQuAD 2.0 -> train.json, valid.json and test.json, split by article. In: dev-v2.0.json. Out: three such files.

No article is in two files: its paragraphs share names and facts, so a question on one would help with another. Which articles
are held out depends on a hash of their titles.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHA256 = "e67e5969b6dc6c1642154740806b79263b77fc048c7c11ee60d534eb48ef81e8"
NUM_VALID, NUM_TEST = 2, 2
Article = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Read, split, write, and say how many there are."""
    arguments = parse(words)
    content = arguments.questions.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256 and not arguments.any_version:
        print(
            f"{arguments.questions} has the checksum {found}, not {SHA256}. Use --any-version to go on.",
            file=sys.stderr,
        )
        return 2
    read = json.loads(content)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, articles in split(read["data"]).items():
        text = json.dumps({"version": read.get("version", ""), "data": articles}, ensure_ascii=False)
        (arguments.out / f"{name}.json").write_text(text, "utf-8")
        print(f"{name}: {counts(articles)}")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the training, validation and test questions of squad-minilm.")
    parser.add_argument("--questions", type=Path, required=True, help="dev-v2.0.json")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="where the files go")
    parser.add_argument("--any-version", action="store_true", help="take another version of the file too")
    return parser.parse_args(words)


def split(articles: Sequence[Article]) -> dict[str, list[Article]]:
    """The three parts, each in the order of the file."""
    ordered = sorted(
        (article["title"] for article in articles), key=lambda title: hashlib.sha256(title.encode()).digest()
    )
    held = dict.fromkeys(ordered[:NUM_VALID], "valid")
    held |= dict.fromkeys(ordered[NUM_VALID : NUM_VALID + NUM_TEST], "test")
    parts: dict[str, list[Article]] = {"train": [], "valid": [], "test": []}
    for article in articles:
        parts[held.get(article["title"], "train")].append(article)
    return parts


def counts(articles: Sequence[Article]) -> str:
    """Articles and questions of a part, for a person."""
    asked = [question for article in articles for part in article["paragraphs"] for question in part["qas"]]
    num_without = sum(not question["answers"] for question in asked)
    titles = (
        ", ".join(article["title"] for article in articles)
        if len(articles) <= NUM_VALID
        else f"{len(articles)} articles"
    )
    return f"{len(asked):,} questions, {num_without:,} of them without an answer ({titles})"


if __name__ == "__main__":
    sys.exit(main())
