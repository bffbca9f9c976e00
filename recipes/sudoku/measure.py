"""Trained models -> how many puzzles each solves, in which order. In: runs. Out: a table, sudoku.json, a report for each order.

An autoregressive model says the cells from left to right, each the most likely one. A diffusion model fills them in one after
another, or in fewer passes several at a time: in random order, or first those of which it is surest, by confidence, margin or
entropy (Kim et al. 2025, arXiv:2502.06768). A puzzle is solved when all 81 cells are those of its only solution.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cutaway.cost import num_parameters
from cutaway.data.sources import read_records
from cutaway.decode import Decoder, Denoising, Engine, Sampling, Session, autoregressive, denoise
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.tasks.report import make_report

HERE = Path(__file__).parent
NUM_CELLS, MARK, EMPTY = 81, ">", "."
PASSES = (20, 8)
GREEDY = Sampling(temperature=0)


class Way(NamedTuple):
    """A way to decode. order: None for left to right. num_passes: None for one a cell."""

    name: str
    order: str | None = None
    num_passes: int | None = None


class Row(NamedTuple):
    """What one model did with one file in one way. solved, low, high: percent of the puzzles, with its 95 % interval. cells:
    percent of the empty cells that are right. num_passes: what was asked for, None for one a cell; passes: what a puzzle took.
    seconds: for all puzzles, side by side."""

    run: str
    parameters: int
    data: str
    puzzles: int
    order: str
    num_passes: int | None
    passes: float
    solved: float
    low: float
    high: float
    cells: float
    seconds: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure every run on every file in every way, and say what was found."""
    arguments = parse(words)
    rows = []
    try:
        for run in arguments.runs:
            lm = load(run)
            for path in arguments.data:
                puzzles = list(read(path, arguments.limit))
                for way in ways(lm, arguments.passes):
                    rows.append(measure(lm, run, path, puzzles, way))
                    print(
                        f"{rows[-1].run}  {path.stem}  {way.name}  {rows[-1].solved:.1f} %", file=sys.stderr, flush=True
                    )
        found = json.dumps([row._asdict() for row in rows], indent=1)
        (arguments.runs[0] / "sudoku.json").write_text(found, "utf-8")
    except (CutawayError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows))
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Let trained models solve puzzles that none of them has seen.")
    parser.add_argument("runs", type=Path, nargs="+", help="the directories of runs; the first gets sudoku.json")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[HERE / "data" / f"{name}.jsonl" for name in ("test", "hard")],
        help="files that prepare.py wrote (default: test and hard)",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=300, help="the most puzzles of a file (default 300)")
    parser.add_argument(
        "--passes",
        type=int,
        nargs="*",
        default=list(PASSES),
        help="fewer passes than cells to try as well (default 20 8)",
    )
    arguments = parser.parse_args(words)
    if arguments.limit < 1:
        parser.error(f"--limit is {arguments.limit}. Measure at least 1 puzzle.")
    for number in arguments.passes:
        if not 1 <= number < NUM_CELLS:
            parser.error(f"--passes has {number}. Allowed: 1 to {NUM_CELLS - 1}; one a cell is measured anyway.")
    return arguments


def read(path: Path, limit: int) -> Iterator[tuple[str, str]]:
    """(puzzle, solution) of the first lines of a file. Raises CutawayError for a line that is none."""
    for number, (record, place) in enumerate(read_records(path, ["text"])):
        if number == limit:
            return
        puzzle, mark, solution = str(record["text"]).partition(MARK)
        if (len(puzzle), mark, len(solution)) != (NUM_CELLS, MARK, NUM_CELLS):
            raise CutawayError(f"{place} is no puzzle with its solution. Make the files with prepare.py.")
        yield puzzle, solution


def ways(lm: LM, passes: Sequence[int]) -> list[Way]:
    """From left to right; or, of a model that fills in cells, every order, one cell a pass and in fewer passes."""
    if lm.config.says_next:
        return [Way(name="left to right")]
    orders = {"random": "first_hitting", "confidence": "confidence", "margin": "margin", "entropy": "entropy"}
    single = [Way(name=name, order=order) for name, order in orders.items()]
    fewer = {**orders, "random": "ancestral"}
    return single + [
        Way(name=name, order=order, num_passes=number) for number in passes for name, order in fewer.items()
    ]


def measure(lm: LM, run: Path, path: Path, puzzles: Sequence[tuple[str, str]], way: Way) -> Row:
    """Solve the puzzles of a file, keep the report in the run, and sum it up."""
    began = time.perf_counter()
    found, passes = solve(lm, [puzzle for puzzle, _ in puzzles], way)
    seconds = time.perf_counter() - began
    said = [lm.tokenizer.decode(ids) for ids in found]
    examples = [(puzzle, text, [solution]) for (puzzle, solution), text in zip(puzzles, said, strict=True)]
    report = make_report(
        task="sudoku", model=f"{run.name}, {way.name}", data=path, examples=examples, metric="accuracy", seconds=seconds
    )
    told = way.name.replace(" ", "-") + ("" if way.num_passes is None else f"-{way.num_passes}")
    report.save(run / f"report-{path.stem}-{told}.json")
    score = report.score("accuracy")
    return Row(
        run=run.name, parameters=num_parameters(lm.config), data=path.stem, puzzles=len(puzzles), order=way.name,
        num_passes=way.num_passes, passes=passes, solved=score.value, low=score.low, high=score.high,
        cells=cells(lm, puzzles, found), seconds=seconds,
    )  # fmt: skip


def solve(lm: LM, puzzles: Sequence[str], way: Way) -> tuple[list[list[int]], float]:
    """The ids that the model puts into the 81 cells of each puzzle, and its passes for one, all puzzles in shared passes."""
    begin = () if lm.tokenizer.roles.eos is None else (lm.tokenizer.roles.eos,)  # what stands before a text in training
    prompts = [[*begin, *lm.tokenizer.encode(puzzle + MARK)] for puzzle in puzzles]
    engine: Engine[int] = Engine()
    found = [[-1] * NUM_CELLS for _ in puzzles]
    for index, event in engine.run([decoder(lm, ids, way, index) for index, ids in enumerate(prompts)]):
        if event.is_final and event.new is not None:
            found[index][event.position - len(prompts[index])] = event.new
    return found, sum(figures.num_passes for figures in engine.figures.values()) / len(puzzles)


def decoder(lm: LM, ids: Sequence[int], way: Way, request: int) -> Decoder:
    """The decoder of one puzzle. request: its number, on which a random order depends."""
    session = Session(lm.model)
    if way.order is None:
        return autoregressive(session, ids, GREEDY, max_tokens=NUM_CELLS, eos_ids=())
    denoising = Denoising(order=way.order, num_passes=way.num_passes)  # type: ignore[arg-type]
    return denoise(session, ids, GREEDY, max_tokens=NUM_CELLS, denoising=denoising, request=request)


def cells(lm: LM, puzzles: Sequence[tuple[str, str]], found: Sequence[Sequence[int]]) -> float:
    """Percent of the empty cells that hold the digit of the solution."""
    right = total = 0
    for (puzzle, solution), ids in zip(puzzles, found, strict=True):
        wanted = lm.tokenizer.encode(solution)
        empty = [place for place, cell in enumerate(puzzle) if cell == EMPTY]
        right += sum(ids[place] == wanted[place] for place in empty)
        total += len(empty)
    return 100 * right / total if total else 100.0


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown: a line for each way of each run, columns for each file."""
    files = list(dict.fromkeys(row.data for row in rows))
    head = [
        "run",
        "order",
        "passes",
        *(f"{name}: solved, %" for name in files),
        *(f"{name}: cells, %" for name in files),
    ]
    lines = [f"| {' | '.join(head)} |", f"|---|---|--:|{'--:|' * 2 * len(files)}"]
    for key in dict.fromkeys((row.run, row.order, row.num_passes) for row in rows):
        own = {row.data: row for row in rows if (row.run, row.order, row.num_passes) == key}
        shown = [own.get(name) for name in files]
        solved = ["–" if row is None else f"{row.solved:.1f} ({row.low:.1f}–{row.high:.1f})" for row in shown]
        right = ["–" if row is None else f"{row.cells:.1f}" for row in shown]
        lines.append(f"| {' | '.join([key[0], key[1], str(key[2] or NUM_CELLS), *solved, *right])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
