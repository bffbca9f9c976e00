"""`cutaway evaluate`: how well a model predicts a text file. In: a model and a file. Out: loss, perplexity, bits per byte."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .shared import MODEL_HELP, command, print_json


def add(commands: Any) -> None:
    """Declare the command."""
    parser = command(
        commands, "evaluate", "measure how well a model predicts a text", "cutaway evaluate stories my-text.txt"
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("file", metavar="FILE", help="a text, JSON-lines or Parquet file; .xz and .gz are read too")
    parser.add_argument("--separator", metavar="TEXT", help="what parts the documents of a text file")
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="tokens that the model reads at a time (default its context, at most 2048)",
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="windows at a time (default 16)")
    parser.add_argument("--json", action="store_true", help="print {loss, perplexity, bits_per_byte, tokens, bytes}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, with a progress bar on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ...lm import load
    from ...tasks.evaluate import evaluate

    lm = load(arguments.model)
    columns = (
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} tokens"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1)
        report = evaluate(
            lm,
            Path(arguments.file),
            separator=arguments.separator,
            window=arguments.window,
            batch_size=arguments.batch_size,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if arguments.json:
        print_json(asdict(report))
        return 0
    print(f"{arguments.model} on {arguments.file}")
    print(f"  loss           {report.loss:.4f} nats a token")
    print(f"  perplexity     {report.perplexity:,.2f}")
    print(f"  bits per byte  {report.bits_per_byte:.4f}")
    print(f"  {report.tokens:,} tokens, {report.bytes:,} bytes")
    return 0
