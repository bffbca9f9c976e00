"""Sudoku puzzles -> train.jsonl, valid.jsonl, test.jsonl and hard.jsonl. In: a seed and numbers. Out: a text for each puzzle.

A text is the puzzle, the mark, the solution: 81 characters, ">", 81 characters; an empty cell is ".". Every part is made by a
generator of its own, seeded by the seed and the part's name, so that one part is the same whatever the size of the others.
Puzzles to train on stand there several times, each time as a twin: digits renamed, rows, columns, bands and stacks changed, rows
and columns exchanged, which leaves the rules as they are. A puzzle or a solution that stands in two parts ends the run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from puzzles import Grid, puzzle

HERE = Path(__file__).parent
MARK, EMPTY = ">", "."
PARTS = ("train", "valid", "test", "hard")

Pair = tuple[Grid, Grid]


def main(words: Sequence[str] | None = None) -> int:
    """Make the puzzles, check that no part knows another, write, and say how many there are."""
    arguments = parse(words)
    try:
        made = {name: part(arguments, name) for name in PARTS}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if shared := known_twice(made):
        print(f"{shared} Use another --seed.", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, pairs in made.items():
        (arguments.out / f"{name}.jsonl").write_text("".join(line(pair) for pair in pairs), "utf-8")
        counts = [givens(each) for each, _ in pairs]
        print(f"{name}: {len(pairs):,} puzzles, {min(counts)} to {max(counts)} cells given")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Make the puzzles of the recipes sudoku-next and sudoku-diffusion.")
    parser.add_argument("--out", type=Path, default=HERE / "data", help="where the files go")
    parser.add_argument("--seed", type=int, default=1, help="of every random choice")
    for name, number in (("train", 20_000), ("valid", 500), ("test", 1000), ("hard", 1000)):
        parser.add_argument(f"--{name}", type=int, default=number, help=f"puzzles of {name}.jsonl (default {number:,})")
    parser.add_argument("--twins", type=int, default=5, help="of each puzzle to train on, itself included (default 5)")
    parser.add_argument(
        "--givens",
        type=int,
        nargs=2,
        default=(30, 50),
        metavar=("LEAST", "MOST"),
        help="cells given, but in hard.jsonl",
    )
    parser.add_argument(
        "--hard-givens",
        type=int,
        nargs=2,
        default=(25, 29),
        metavar=("LEAST", "MOST"),
        help="cells given in hard.jsonl",
    )
    arguments = parser.parse_args(words)
    for name in (*PARTS, "twins"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is {getattr(arguments, name)}. It must be at least 1.")
    for name in ("givens", "hard_givens"):
        if getattr(arguments, name)[0] > getattr(arguments, name)[1]:
            parser.error(f"--{name.replace('_', '-')} is {getattr(arguments, name)}. LEAST must not be above MOST.")
    return arguments


def part(arguments: argparse.Namespace, name: str) -> list[Pair]:
    """The puzzles of one file, each with its solution; the number of cells given is any in the range, all alike."""
    generator = random.Random(f"{arguments.seed} {name}")
    least, most = arguments.hard_givens if name == "hard" else arguments.givens
    pairs = [puzzle(generator, generator.randint(least, most)) for _ in range(getattr(arguments, name))]
    if name != "train":
        return pairs
    return [each for pair in pairs for each in (pair, *(twin(pair, generator) for _ in range(arguments.twins - 1)))]


def twin(pair: Pair, generator: random.Random) -> Pair:
    """The same puzzle in other clothes: a symmetry of the rules, drawn at random (Russell & Jarvis 2006)."""
    digits = [0, *generator.sample(range(1, 10), 9)]
    rows, columns = lines(generator), lines(generator)
    places = [9 * row + column for row in rows for column in columns]
    if generator.random() < 0.5:
        places = [cell % 9 * 9 + cell // 9 for cell in places]
    one, other = (tuple(digits[grid[cell]] for cell in places) for grid in pair)
    return one, other


def lines(generator: random.Random) -> list[int]:
    """The nine rows in an order that keeps bands together."""
    return [3 * band + row for band in generator.sample(range(3), 3) for row in generator.sample(range(3), 3)]


def known_twice(made: dict[str, list[Pair]]) -> str:
    """What is wrong where a puzzle or a solution stands in two parts; "" where none does."""
    for index, name in enumerate(PARTS):
        for other in PARTS[:index]:
            for what, number in (("puzzle", 0), ("solution", 1)):
                common = {pair[number] for pair in made[name]} & {pair[number] for pair in made[other]}
                if common:
                    return f"{len(common)} of the {what}s of {name}.jsonl stand in {other}.jsonl too."
    return ""


def givens(grid: Grid) -> int:
    """How many cells are given."""
    return len(grid) - grid.count(0)


def line(pair: Pair) -> str:
    """A line of a file."""
    one, other = pair
    return json.dumps({"text": written(one) + MARK + written(other), "givens": givens(one)}) + "\n"


def written(grid: Grid) -> str:
    """A grid as text."""
    return "".join(str(digit) if digit else EMPTY for digit in grid)


if __name__ == "__main__":
    sys.exit(main())
