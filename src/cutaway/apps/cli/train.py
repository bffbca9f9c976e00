"""`cutaway train`: follow a recipe. In: a recipe and changes to it. Out: a run directory; the display only reads its events."""

from __future__ import annotations

import argparse
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shared import command

if TYPE_CHECKING:
    from ...train.loop import Trainer
    from ...train.recipe import Recipe


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
    from ...finding import find
    from ...train.display import Display
    from ...train.loop import Trainer
    from ...train.recipe import load_recipe
    from ...train.run_directory import RunDirectory

    recipe = load_recipe(arguments.recipe, arguments.changes)
    directory = Path(arguments.out or Path("runs") / recipe.name)
    if RunDirectory(directory, recipe, is_fresh=arguments.fresh).is_finished:
        print(
            f"{directory} is finished: all {recipe.training.steps:,} steps are done. For more of them, name another "
            "directory (training.steps=… --out DIR), because the learning rate falls over all steps of a run; to do it "
            "again, --fresh."
        )
        _print_next(directory, recipe)
        return 0
    kind = ""
    with Display() as display:
        trainer = Trainer(recipe, directory, is_fresh=arguments.fresh, find_base=find)
        with _stopping(trainer):
            for event in trainer.run():
                display.show(event)
                kind = event.kind
    if kind == "stop":
        return 130
    _print_next(directory, recipe)
    return 0


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM stops the trainer after its step, the next Ctrl-C at once."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_next(directory: Path, recipe: Recipe) -> None:
    place, prompt = shlex.quote(str(directory)), recipe.sample.prompt.strip()
    text = shlex.quote(prompt or ("a question" if recipe.questions is not None else "some text"))
    print(f"\nTry it:\n  cutaway {words_to_try(place, text, recipe)}\n  cutaway inspect {place} {text}")
    print(f"The curve: {directory / 'loss.png'}")


def words_to_try(place: str, text: str, recipe: Recipe) -> str:
    """What a model of this recipe is for, as the words of a command. place, text: quoted for a shell."""
    if recipe.questions is not None:
        return f"answer {place} --context FILE {text}"
    if recipe.dialogues is not None:
        return f"chat {place}"
    if recipe.pairs is None:
        return f"generate {place} {text}"
    return f"summarize {place} FILE" if recipe.pairs.task == "summarize" else f"translate {place} {text}"
