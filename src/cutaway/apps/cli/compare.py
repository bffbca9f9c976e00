"""`cutaway compare`: reports or training runs side by side. In: files or directories. Out: tables, a picture, JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .inspect import plain_console
from .shared import command, print_json

if TYPE_CHECKING:
    from ...train.seeds import Mean, SeedGroup
    from ...train.summary import RunSummary


def add(commands: Any) -> None:
    """Declare the command."""
    example = (
        "cutaway compare runs/short runs/long --plot losses.png\n  cutaway compare runs/next-* runs/diffusion-* --by-seed\n"
        "  cutaway compare one.json other.json"
    )
    parser = command(commands, "compare", "set training runs, or reports on the same data, side by side", example)
    parser.add_argument(
        "paths", metavar="RUN-OR-REPORT", nargs="+", help="two or more run directories, or two or more reports"
    )
    parser.add_argument("--plot", metavar="FILE", help="write the loss curves of runs into one picture (PNG)")
    parser.add_argument(
        "--by-seed",
        action="store_true",
        help="give runs of one recipe that differ in the seed as mean ± standard error",
    )
    parser.add_argument("--json", action="store_true", help="print every figure as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare what the paths hold."""
    from ...train.summary import is_run

    paths = [Path(path) for path in arguments.paths]
    if len(paths) < 2:
        raise CutawayError(
            f"There is nothing to compare {paths[0]} with. Name two or more runs, or two or more reports."
        )
    runs = [path for path in paths if is_run(path)]
    folders = [path for path in paths if path.is_dir() and path not in runs]
    if folders:
        raise CutawayError(
            f"{folders[0]} holds no events.jsonl, so it is no run. Name the directory of a training run."
        )
    if runs and len(runs) < len(paths):
        other = next(path for path in paths if path not in runs)
        raise CutawayError(f"{runs[0]} is a run and {other} is none. Compare runs with runs, and reports with reports.")
    return _runs(paths, arguments) if runs else _reports(paths, arguments)


def _reports(paths: Sequence[Path], arguments: argparse.Namespace) -> int:
    from ...tasks.compare import compare_reports, refuse_incomparable
    from ...tasks.report import Report
    from ...tasks.show import show_differences, show_reports

    if arguments.by_seed:
        raise CutawayError("--by-seed is for training runs, and these are reports. Leave it out.")
    if arguments.plot:
        raise CutawayError("--plot draws the losses of training runs, and these are reports. Leave it out.")
    reports = [Report.load(path) for path in paths]
    refuse_incomparable(reports)
    found = [compare_reports(reports[0], other) for other in reports[1:]]
    names = _names(paths)
    if arguments.json:
        tests = [[asdict(each) for each in differences] for differences in found]
        against = [
            {"report": str(path), "against": str(paths[0]), "metrics": each}
            for path, each in zip(paths[1:], tests, strict=True)
        ]
        shown = [{"path": str(path), **report.summary()} for path, report in zip(paths, reports, strict=True)]
        print_json({"reports": shown, "differences": against})
        return 0
    console = plain_console()
    show_reports(names, reports, console)
    for name, differences in zip(names[1:], found, strict=True):
        show_differences(names[0], name, differences, console)
    return 0


def _runs(paths: Sequence[Path], arguments: argparse.Namespace) -> int:
    from ...train.curves import draw_runs
    from ...train.seeds import group_by_seed
    from ...train.summary import run_events, summarise

    events = [run_events(path) for path in paths]
    found = [summarise(path, each) for path, each in zip(paths, events, strict=True)]
    names = _names(paths)
    groups = group_by_seed(paths, found) if arguments.by_seed else []
    titles = _titles(groups)
    if arguments.plot:
        place = {run: title for group, title in zip(groups, titles, strict=True) for run in group.runs}
        members = {name: place[str(path)] for name, path in zip(names, paths, strict=True)} if groups else None
        draw_runs(dict(zip(names, events, strict=True)), Path(arguments.plot), groups=members)
    if arguments.json:
        runs = [{"path": str(path), **asdict(each)} for path, each in zip(paths, found, strict=True)]
        print_json({"runs": runs, **({"groups": [asdict(each) for each in groups]} if groups else {})})
        return 0
    if groups:
        _show_groups(titles, groups)
    else:
        _show_runs(names, found)
    if arguments.plot:
        print(f"\nWrote {arguments.plot}.")
    return 0


def _show_runs(names: Sequence[str], found: Sequence[RunSummary]) -> None:
    from ...tasks.show import sayable, side_by_side
    from ...train.display import clock

    def chosen(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    rows = [
        ("objective", [sayable(each.objective) for each in found]),
        ("steps", [f"{each.step:,} of {each.steps:,}, {each.state}" for each in found]),
        ("parameters", [f"{each.parameters:,}" for each in found]),
        ("tokens", [f"{each.tokens:,}" for each in found]),
        ("training loss", [f"{each.train_loss:.4f}" for each in found]),
        ("held-out loss", [chosen(each.held_out_loss, ".4f") for each in found]),
        ("  estimate", [_estimate(each) for each in found]),
        ("  best", [chosen(each.best_held_out_loss, ".4f") for each in found]),
        ("  at step", [chosen(each.best_step, ",") for each in found]),
        ("bits per byte", [chosen(each.bits_per_byte, ".4f") for each in found]),
        ("  best", [chosen(each.best_bits_per_byte, ".4f") for each in found]),
        ("tokens/s", [f"{each.tokens_per_second:,.0f}" for each in found]),
        ("time", [clock(each.seconds) for each in found]),
    ]
    recipes = [sayable(each.name) for each in found]
    if recipes != list(names):
        rows.insert(0, ("recipe", recipes))
    side_by_side([sayable(name) for name in names], rows, plain_console())


def _show_groups(titles: Sequence[str], groups: Sequence[SeedGroup]) -> None:
    from ...tasks.show import sayable, side_by_side

    def means(name: str, form: str) -> list[str]:
        return [_spread(each.figures[name], form) for each in groups]

    firsts = [each.first for each in groups]
    rows = [
        ("seeds", [", ".join(map(str, each.seeds)) for each in groups]),
        ("objective", [sayable(each.objective) for each in firsts]),
        ("steps", [f"{each.step:,} of {each.steps:,}" for each in firsts]),
        ("parameters", [f"{each.parameters:,}" for each in firsts]),
        ("tokens", [f"{each.tokens:,}" for each in firsts]),
        ("training loss", means("train_loss", ".4f")),
        ("held-out loss", means("held_out_loss", ".4f")),
        ("  estimate", ["–" if each.held_out_loss is None else each.estimate for each in firsts]),
        ("  best", means("best_held_out_loss", ".4f")),
        ("bits per byte", means("bits_per_byte", ".4f")),
        ("  best", means("best_bits_per_byte", ".4f")),
        ("tokens/s", means("tokens_per_second", ",.0f")),
        ("seconds", means("seconds", ",.0f")),
    ]
    side_by_side([sayable(title) for title in titles], rows, plain_console())


def _estimate(found: RunSummary) -> str:
    """What the held-out loss is: the loss itself, or a bound above it, and how sure that is."""
    if found.held_out_loss is None:
        return "–"
    return found.estimate if found.standard_error is None else f"{found.estimate} ± {found.standard_error:.4f}"


def _spread(mean: Mean | None, form: str) -> str:
    if mean is None:
        return "–"
    return format(mean.value, form) + ("" if mean.standard_error is None else f" ± {mean.standard_error:{form}}")


def _titles(groups: Sequence[SeedGroup]) -> list[str]:
    """The recipe's name of each group, with a number where several have it."""
    names = [group.name for group in groups]
    return [
        name if names.count(name) == 1 else f"{name} {names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    whole = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, whole)) + 1):
        ends = ["/".join(parts[-length:]) for parts in whole]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{number} {path.name}" for number, path in enumerate(paths, start=1)]
