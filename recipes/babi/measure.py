"""A trained model -> how many questions of each task it answers. In: a run. Out: a table, and a report for each task.

Exact match on the test files: of an answer in several words, all of them, in their order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.tasks.answer import evaluate_answers
from cutaway.tasks.answer.ask import Asking

HERE = Path(__file__).parent
LONGEST = 8  # tokens of an answer


def main(words: Sequence[str] | None = None) -> int:
    """Measure each task, and say how it went."""
    arguments = parse(words)
    values = []
    try:
        lm = load(arguments.run)
        for path in sorted((arguments.data / "test").glob("qa*.txt")):
            report = evaluate_answers(lm, path, Asking(max_tokens=LONGEST))
            report.save(arguments.run / f"report-{path.stem}.json")
            score = report.score("exact_match")
            values.append(score.value)
            print(f"{path.stem}  {score.value:5.1f} % [{score.low:.1f}, {score.high:.1f}]", flush=True)
    except CutawayError as error:
        print(error, file=sys.stderr)
        return 2
    if not values:
        print(f"{arguments.data}/test holds no file qa*.txt. Run prepare.py first.", file=sys.stderr)
        return 2
    print(f"mean of {len(values)} tasks: {sum(values) / len(values):.2f} %")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Measure babi on the test questions of every task.")
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="the folder that prepare.py wrote")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
