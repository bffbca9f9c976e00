"""Task dialogues of SGD and Taskmaster-4 -> train.jsonl, and held-out parts. In: the published files. Out: one dialogue a line.

A dialogue that is too long for the model's context becomes several: each begins with what the user says, and repeats nothing.
Held out are dialogues of SGD's development set, some of them on services that training never names, and dialogues of Taskmaster:
those whose id has a hash that `EVERY` divides.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ASSISTANTS = {"system", "assistant"}
EVERY = {"sgd": 10, "taskmaster": 20}
MOST = 700  # characters of a part, which are about 200 tokens
SHORTEST = 2  # turns: what the user says, and a reply
ODD = re.compile(r"[^\x20-\x7e°–—‘’“”…é]")
Turn = tuple[str, str]


def main(words: Sequence[str] | None = None) -> int:
    """Read, cut, write, and say how many there are."""
    arguments = parse(words)
    sources = {"sgd": (arguments.sgd, arguments.sgd_dev), "taskmaster": (arguments.taskmaster, None)}
    missing = [path for pair in sources.values() for path in pair if path is not None and not path.exists()]
    if missing:
        print(f"{missing[0]} does not exist. README.md beside this file says where it comes from.", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[list[Turn]]] = {"train": []}
    for name, (path, held_path) in sources.items():
        held = parts.setdefault(f"{name}.heldout", [])
        for key, turns in read(path):
            is_held = held_path is None and digest(key) % EVERY[name] == 0
            (held if is_held else parts["train"]).extend(cut(turns))
        for key, turns in read(held_path) if held_path is not None else ():
            held.extend(cut(turns) if digest(key) % EVERY[name] == 0 else ())
    for name, dialogues in parts.items():
        lines = (json.dumps({"turns": turns}, ensure_ascii=False) for turns in dialogues)
        (arguments.out / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        print(f"{name}: {len(dialogues):,} dialogues, {sum(len(turns) for turns in dialogues):,} turns")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the dialogues that stories-chat learns from.")
    parser.add_argument(
        "--sgd", type=Path, required=True, help="SGD's folder train, or one .jsonl of all its dialogues"
    )
    parser.add_argument("--sgd-dev", type=Path, required=True, help="the same of its development set")
    parser.add_argument("--taskmaster", type=Path, required=True, help="TM-4-2024/data, or one .jsonl")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="where the files go")
    return parser.parse_args(words)


def read(path: Path) -> Iterator[tuple[str, list[Turn]]]:
    """(id, turns) of every dialogue. A folder holds the published JSON files; a file, packed or not, one dialogue a line."""
    if path.is_dir():
        for file in sorted([*path.glob("dialogues_*.json"), *path.glob("data_*.json")]):
            for record in json.loads(file.read_text("utf-8")):
                yield parsed(record)
        return
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            yield parsed(json.loads(line))


def parsed(record: dict[str, Any]) -> tuple[str, list[Turn]]:
    """The id and the turns of one dialogue, in either data set's words or reduced to [speaker, text]."""
    key = next(record[name] for name in ("dialogue_id", "conversation_id", "id") if name in record)
    turns = record["turns"] if "turns" in record else record["utterances"]
    said = [
        turn if isinstance(turn, list) else (turn["speaker"], turn.get("utterance", turn.get("text"))) for turn in turns
    ]
    return key, merged([(speaker.lower(), " ".join(text.split())) for speaker, text in said if text.strip()])


def merged(turns: Sequence[Turn]) -> list[Turn]:
    """The turns, user and assistant in turn: what one says twice in a row is one turn; the first is the user's."""
    found: list[Turn] = []
    for speaker, text in turns:
        role = "assistant" if speaker in ASSISTANTS else "user"
        if found and found[-1][0] == role:
            found[-1] = (role, f"{found[-1][1]} {text}")
        elif found or role == "user":
            found.append((role, text))
    return found


def cut(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """Parts of at most `MOST` characters that begin with the user and end with the assistant; one with odd characters goes."""
    part: list[Turn] = []
    for pair in zip(turns[::2], turns[1::2], strict=False):
        if part and sum(len(text) for _, text in (*part, *pair)) > MOST:
            yield from kept(part)
            part = []
        part.extend(pair)
    yield from kept(part)


def kept(part: list[Turn]) -> Iterator[list[Turn]]:
    """The part, if it can be learned from."""
    text = "".join(text for _, text in part)
    if len(part) >= SHORTEST and len(text) <= MOST and not ODD.search(text):
        yield part


def digest(text: str) -> int:
    """A number that depends on a text alone."""
    return int(hashlib.sha256(text.encode("utf-8")).hexdigest()[:8], 16)


if __name__ == "__main__":
    sys.exit(main())
