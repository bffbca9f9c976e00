"""`cutaway demo`: all of it once. In: the bundled model. Out: a story, the way of a prompt, a page, and what to type next."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .inspect import plain_console, write
from .shared import command

if TYPE_CHECKING:
    from rich.console import Console

    from ...decode import Event
    from ...lm import LM

MODEL = "stories"
STORY, NUM_TOKENS, SEED = "Once upon a time", 120, 3
PROMPT = "Once upon a time there was a little"
NEXT = (
    ('cutaway generate stories "The dragon" --seed 2', "another story"),
    ('cutaway inspect stories "The cat sat on the"', "the way of your words"),
    ('cutaway inspect stories "The cat" --html my.html', "the same as a page"),
    ("cutaway inspect stories --config", "the model on a card"),
    ("cutaway train shakespeare", "train one in a minute"),
)


def add(commands: Any) -> None:
    """Declare the command."""
    parser = command(commands, "demo", "see the bundled model at work, in some seconds", "cutaway demo --out demo.html")
    parser.add_argument("--out", metavar="FILE", default="demo.html", help="where the page goes (default demo.html)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write a story, show a way, write the page, say what to type next."""
    from ...lens.way import way
    from ...lm import load
    from ..inspect.html import page
    from ..inspect.terminal import show

    lm, console = load(MODEL), plain_console()
    _story(lm, console)
    found = way(lm.model, lm.tokenizer, PROMPT)
    _title(console, "What happens on the way from text to text")
    show(found, console, lm.name, is_short=True)
    write(Path(arguments.out), page(found, lm.name))
    _title(console, f"{arguments.out} shows the same way as pictures. Open it in a browser; it needs no network.")
    _next(console)
    return 0


def _story(lm: LM, console: Console) -> None:
    """A story as it is written, one token after another."""
    from ...decode import Sampling

    _title(console, f"A story by the bundled model, from “{STORY}”")
    print(STORY, end="", flush=True)
    last: Event | None = None
    for piece in lm.stream(STORY, max_tokens=NUM_TOKENS, sampling=Sampling(temperature=0.7, seed=SEED)):
        print(piece.text, end="", flush=True)
        last = piece.event or last
    is_whole = last is not None and last.new == lm.config.tokens.eos
    print("" if is_whole else " …")
    print(f"\n{lm.figures.num_tokens} tokens, {lm.figures.tokens_per_second:,.0f} a second.")


def _next(console: Console) -> None:
    console.print("Type next:")
    width = max(len(words) for words, _ in NEXT)
    for words, purpose in NEXT:
        console.print(f"  {words:<{width}}  {purpose}")


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold")
    console.print()
