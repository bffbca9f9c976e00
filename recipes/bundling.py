"""What all bundled models share. In: a run, and who writes its card. Out: a folder of src/cutaway/models, in half precision.

Used by recipes/*/bundle.py. A card is measured on the weights as they are stored.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import cutaway
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.train.events import read_events
from cutaway.train.recipe import load_recipe
from cutaway.weights import checkpoint

RECIPES = Path(__file__).parent
MODELS = RECIPES.parent / "src" / "cutaway" / "models"


def bundle(
    name: str, description: str, card: Callable[[LM, Path], str], *, save_more: Callable[[LM, Path], None] | None = None
) -> None:
    """Put the run that the command line names into the package.

    card: the model card, of the stored model and the run. save_more: writes what else belongs to the trained model. Ends with
    exit code 2 where there is no such run.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run directory")
    run: Path = parser.parse_args().run
    try:
        trained, target = cutaway.load(run), MODELS / name
    except CutawayError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    target.mkdir(parents=True, exist_ok=True)
    checkpoint.write_model(target, trained.model, dtype=torch.float16, metadata={"recipe": name})
    trained.tokenizer.save(target)
    if save_more is not None:
        save_more(trained, target)
    (target / "README.md").write_text(card(cutaway.load(target), run), "utf-8")
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()):,} bytes")


def made_by(name: str, run: Path, *, of_the_tokens: str = "") -> str:
    """The recipe, its steps, the tokens of a step and what one took. of_the_tokens: what is to be said of them."""
    training = load_recipe(str(RECIPES / name / f"{name}.toml")).training
    steps = [event.values for event in read_events(run / "events.jsonl") if event.kind == "step"]
    seconds, tokens = (statistics.median(step[key] for step in steps) for key in ("seconds", "tokens"))
    return (
        f"`recipes/{name}/{name}.toml`: {training.steps:,} steps of {tokens:,.0f} tokens{of_the_tokens}, {seconds:.1f} s each "
        "on two shared cores"
    )


def facts_table(facts: dict[str, str]) -> str:
    """Two columns: what, and how much."""
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())])
