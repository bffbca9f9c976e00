"""A trained reader -> when it should say that there is no answer, and how good it is. In: a run. Out: answer.json, report.json.

The threshold is found on valid.json and kept beside the weights; exact match and F1 are measured on test.json, which has other
articles.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.tasks.answer import evaluate_answers, save_threshold, threshold_on

HERE = Path(__file__).parent


def main(words: Sequence[str] | None = None) -> int:
    """Find the threshold, keep it, measure, and say what was found."""
    arguments = parse(words)
    try:
        lm = load(arguments.run)
        assert lm.place is not None, "loaded from a place"
        threshold = threshold_on(lm, arguments.data / "valid.json")
        save_threshold(lm.place, threshold)
        report = evaluate_answers(lm, arguments.data / "test.json")
        report.save(arguments.run / "report.json")
    except CutawayError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"threshold {threshold.threshold:.3f}, temperature {threshold.temperature:.3f} (F1 {threshold.f1:.1f} on valid.json)"
    )
    for score in report.scores:
        print(f"{score.metric} {score.value:.1f} [{score.low:.1f}, {score.high:.1f}] on test.json")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Calibrate and measure squad-minilm.")
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="the folder that prepare.py wrote")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
