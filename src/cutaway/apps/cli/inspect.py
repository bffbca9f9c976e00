"""`cutaway inspect`: the way of a prompt. In: a model and a prompt. Out: every number, in the terminal, as JSON or as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ...decode import Sampling
    from ...lens.way import Way
    from ...lm import LM

PROMPT = "Once upon a time"


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway inspect stories "The cat sat on the" --layer 1 --head 2 --html way.html'
    parser = command(commands, "inspect", "show every number on the way of a prompt", example)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", default=PROMPT, help=f"the text (default: {PROMPT})")
    place = parser.add_argument_group("where to look")
    place.add_argument("--position", type=int, metavar="P", help="the token, counted from 0 (default: the last)")
    place.add_argument("--layer", type=int, metavar="L", help="the layer (default: that of the head below)")
    place.add_argument(
        "--head", type=int, metavar="H", help="the head (default: the one that looks most at a single token)"
    )
    draw = parser.add_argument_group("how the next token is chosen")
    draw.add_argument(
        "--temperature", type=float, metavar="T", help="0 takes the likeliest (the default); else it is drawn"
    )
    draw.add_argument("--top-k", type=int, metavar="K", help="only the K likeliest; draws at temperature 1")
    draw.add_argument("--top-p", type=float, metavar="P", help="only the likeliest that together hold P; draws too")
    draw.add_argument("--seed", type=int, default=0, help="the same seed draws the same token (default 0)")
    other = parser.add_argument_group("what to print instead")
    what = other.add_mutually_exclusive_group()
    what.add_argument(
        "--sites", action="store_true", help="the name, axes, shape and bytes of every tensor of the pass"
    )
    what.add_argument("--site", metavar="NAME", help="one tensor, for example layers.0.attention.weights; * matches")
    what.add_argument("--config", action="store_true", help="a card of the model: knobs, parameters, memory, work")
    other.add_argument("--json", action="store_true", help="every figure as one JSON object")
    what.add_argument("--html", metavar="FILE", help="write the way as one page with pictures, and print its name")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Inspect as the options say."""
    from ...lm import load

    if arguments.config:
        return _config(arguments)
    lm = load(arguments.model)
    if arguments.sites or arguments.site:
        return _tensors(lm, arguments)
    return _way(lm, arguments)


def way_of(lm: LM, prompt: str, arguments: argparse.Namespace) -> Way:
    """The way that the options describe."""
    from ...lens.way import way

    return way(
        lm.model,
        lm.tokenizer,
        prompt,
        position=arguments.position,
        layer=arguments.layer,
        head=arguments.head,
        sampling=_sampling(arguments),
    )


def plain_console() -> Console:
    """A console on standard output; no colour and no other escape code where NO_COLOR is set or nobody looks.

    What the terminal's encoding does not hold is printed as a question mark.
    """
    import io
    import os
    import sys

    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(
        highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto", emoji=False, markup=False
    )


def write(path: Path, text: str) -> None:
    """Write a page. Raises CutawayError where the system refuses."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CutawayError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.") from error


def _way(lm: LM, arguments: argparse.Namespace) -> int:
    found = way_of(lm, arguments.prompt, arguments)
    if arguments.html:
        from ..inspect.html import page

        write(Path(arguments.html), page(found, lm.name))
    if arguments.json:
        print_json(found.as_dict())
    elif arguments.html:
        print(f"Wrote {arguments.html}. Open it in a browser; it needs no network.")
    else:
        from ..inspect.terminal import show

        show(found, plain_console(), lm.name)
    return 0


def _tensors(lm: LM, arguments: argparse.Namespace) -> int:
    from ..inspect import tensors

    if arguments.sites:
        found = tensors.table(lm, arguments.prompt)
        if arguments.json:
            print_json(found)
        else:
            tensors.show_table(found, plain_console())
        return 0
    trace = lm.trace(arguments.prompt, sites=arguments.site)
    if arguments.json:
        print_json({name: tensor.tolist() for name, tensor in trace.items()})
    else:
        tensors.show_values(lm.sites(arguments.prompt), trace, plain_console())
    return 0


def _config(arguments: argparse.Namespace) -> int:
    from ...finding import find, read_config
    from ...weights.provenance import read_provenance
    from ..inspect import card

    config, provenance = read_config(arguments.model), read_provenance(find(arguments.model))
    if arguments.json:
        print_json(card.figures(config, provenance))
    else:
        card.show(config, provenance, arguments.model, plain_console())
    return 0


def _sampling(arguments: argparse.Namespace) -> Sampling:
    from ...decode import Sampling

    is_drawn = arguments.top_k is not None or arguments.top_p is not None
    heat = (1.0 if is_drawn else 0.0) if arguments.temperature is None else arguments.temperature
    return Sampling(temperature=heat, top_k=arguments.top_k, top_p=arguments.top_p, seed=arguments.seed)
