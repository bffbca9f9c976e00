"""`cutaway train`: follow a recipe. In: a recipe and changes to it. Out: a run directory; the display only reads its events."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

from .shared import command


def add(commands: Any) -> None:
    """Declare the command."""
    example = "cutaway train shakespeare\n  cutaway train my-recipe.toml training.steps=500 --out runs/short"
    parser = command(commands, "train", "train a model from a recipe; resumes by itself", example)
    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, or a bundled recipe: shakespeare")
    parser.add_argument(
        "changes", metavar="key=value", nargs="*", help="change the recipe, for example training.steps=500"
    )
    parser.add_argument("--out", metavar="DIR", help="the run directory (default runs/NAME)")
    parser.add_argument("--fresh", action="store_true", help="delete the run that is there, and start over")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; Ctrl-C saves and leaves, and a second one leaves at once."""
    from ...train.display import Display
    from ...train.loop import Trainer
    from ...train.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.changes)
    directory = Path(arguments.out or Path("runs") / recipe.name)
    with Display() as display:
        trainer = Trainer(recipe, directory, is_fresh=arguments.fresh)
        _stop_on_interrupt(trainer)
        for event in trainer.run():
            display.show(event)
    if trainer.is_stopping:
        return 130
    print(
        f"\nTry it:\n  cutaway generate {directory} {_quoted(recipe.sample.prompt)}\n  cutaway inspect {directory} {_quoted(recipe.sample.prompt)}"
    )
    print(f"The curve: {directory / 'loss.png'}")
    return 0


def _stop_on_interrupt(trainer: Any) -> None:
    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _quoted(prompt: str) -> str:
    return '"' + (prompt.strip() or "ROMEO:") + '"'
