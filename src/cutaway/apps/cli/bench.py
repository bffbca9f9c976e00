"""`cutaway bench`: how near a model comes to what this machine can do. In: a model or a shape. Out: figures, a roofline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command, print_json

if TYPE_CHECKING:
    from ...model import Transformer

PROMPT, WRITTEN = 512, 64
MOST_THREADS = 256


def add(commands: Any) -> None:
    """Declare the command."""
    example = "cutaway bench stories --prompt 128\n  cutaway bench llama-135m --plot roofline.svg"
    parser = command(commands, "bench", "measure this machine, and how near a model comes to its limits", example)
    parser.add_argument(
        "model",
        metavar="MODEL-OR-SHAPE",
        help=f"{MODEL_HELP}; or a shape, with random weights: llama-15m, llama-135m, llama-1.1b, or layers,width,heads,"
        "kv heads,feed-forward width,vocabulary",
    )
    parser.add_argument(
        "--prompt", type=int, metavar="N", help=f"tokens that are read (default {PROMPT}, or what fits)"
    )
    parser.add_argument(
        "--tokens", type=int, metavar="N", help=f"tokens that are written (default {WRITTEN}, or what fits)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")
    parser.add_argument("--plot", metavar="FILE", help="draw the roofline: .svg, .png or .pdf")
    parser.add_argument("--json", action="store_true", help="print every figure as one object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure the machine, then the model."""
    from ...runtime.roofline import measure_machine
    from ...weights.atomic import check_file
    from ..bench.measure import measure
    from ..bench.show import as_dict, roofline, show
    from .inspect import plain_console

    if arguments.plot is not None:
        check_file(Path(arguments.plot))
    _set_threads(arguments.threads)
    model = _model(arguments.model)
    num_prompt, num_written = _sizes(model.config.context, arguments.prompt, arguments.tokens)
    found = measure(model, measure_machine(), num_prompt=num_prompt, num_written=num_written)
    if arguments.json:
        print_json(as_dict(arguments.model, found))
    else:
        show(arguments.model, found, plain_console())
    if arguments.plot is not None:
        roofline(arguments.model, found).save(arguments.plot)
        if not arguments.json:
            print(f"Written to {arguments.plot}")
    return 0


def _model(name: str) -> Transformer:
    from ...lm import load
    from ..bench.shapes import config_of, is_shape, random_model

    if is_shape(name):
        return random_model(config_of(name))
    return load(name).model


def _sizes(context: int, num_prompt: int | None, num_written: int | None) -> tuple[int, int]:
    """What was asked for; what was not is what fits, the prompt first."""
    written = num_written or max(1, min(WRITTEN, context // 4))
    return num_prompt or max(1, min(PROMPT, context - written - 1)), written


def _set_threads(number: int | None) -> None:
    if number is None:
        return
    if not 1 <= number <= MOST_THREADS:
        raise CutawayError(f"--threads is {number}. Allowed: 1 to {MOST_THREADS}.")
    import torch

    torch.set_num_threads(number)
