"""All figures, or those named. In: options. Out: one table; with --json the values, with --write the tables of a page.

This process never imports torch: a child's peak memory starts from its parent's, and nothing may compute beside what is
measured. Exit code 0: measured, and every goal met; 1: a goal was missed, or a figure could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import capture
import generate
import machine
import microscope
import opening
import prefill
import report
import shakespeare
import speed
import startup
import taps
import training
from figure import BenchmarkError, Options, Row

FIGURES = {
    "training": training.measure,
    "shakespeare": shakespeare.measure,
    "shakespeare-large": shakespeare.measure_large,
    "startup": startup.measure,
    "generate": generate.measure,
    "speed": speed.measure,
    "prefill": prefill.measure,
    "taps": taps.measure,
    "capture": capture.measure,
    "opening": opening.measure,
    "microscope": microscope.measure,
}


def main() -> int:
    """Measure, print, write."""
    # What a shell starts in the background ignores Ctrl-C, and so would the programs that are started, and ended by it, here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = parse()
    warn(is_quick=arguments.quick)
    options = Options(is_quick=arguments.quick, model=arguments.model)
    rows, failures = measure(arguments.only or list(FIGURES), options)
    facts = machine.facts()
    report.show(rows, facts)
    if arguments.json is not None:
        report.write_json(arguments.json, rows, facts)
    if arguments.write is not None:
        failures += write(arguments.write, rows, facts)
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    is_all_met = all(row.is_met is not False for figure in rows.values() for row in figure)
    return 0 if is_all_met and not failures else 1


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Measure Cutaway's figures. Leave the machine alone meanwhile.")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="measure this figure; repeatable")
    parser.add_argument("--quick", action="store_true", help="once and tiny: the numbers mean nothing")
    parser.add_argument("--model", default="stories", help="the model that generate and startup open (default stories)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there")
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the tables of this page")
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("--quick measures nothing worth writing; leave out one of --quick and --write")
    return arguments


def measure(names: Sequence[str], options: Options) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of every figure that could be measured, and why the others could not."""
    rows: dict[str, list[Row]] = {}
    failures = []
    for name in names:
        print(f"Measuring {name} …", file=sys.stderr)
        try:
            rows[name] = FIGURES[name](options)
        except BenchmarkError as error:
            failures.append(f"Not measured: {name}. {error}")
    return rows, failures


def write(page: Path, rows: dict[str, list[Row]], facts: dict[str, str]) -> list[str]:
    """Renew a page; what stood in the way, if anything did."""
    try:
        report.write_page(page, rows, facts)
    except (BenchmarkError, OSError) as error:
        return [f"Not written: {error}"]
    return []


def warn(*, is_quick: bool) -> None:
    """Say what would make the figures worthless."""
    if is_quick:
        print("Quick: everything runs once, on tiny settings. The numbers mean nothing.", file=sys.stderr)
    elif machine.load() > 0.5:
        print(f"Other programs are running (load {machine.load():.1f}). The figures will suffer.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
