"""`cutaway bench`: how near a model comes to what this machine can do. In: a model or a shape. Out: figures, a roofline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command, print_json

if TYPE_CHECKING:
    from ...runtime.roofline import Machine
    from ..bench.peers import Peer
    from ..bench.start import Started
    from ..bench.versus import Plan

PROMPT, WRITTEN = 512, 64
QUICK_PROMPT, QUICK_WRITTEN, QUICK_TURNS = 64, 8, 2
MOST_THREADS = 256
FULL = 32  # bits of a weight
PEERS = ("llama.cpp", "transformers")


def add(commands: Any) -> None:
    """Declare the command."""
    example = (
        "cutaway bench stories --prompt 128\n  cutaway bench llama-135m --bits 16,8,4 --plot roofline.svg\n"
        "  cutaway bench llama-15m --bits 8 --vs llama.cpp\n  cutaway bench --vs llama.cpp"
    )
    parser = command(commands, "bench", "measure this machine, and how near a model comes to its limits", example)
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL-OR-SHAPE",
        help=f"{MODEL_HELP}; or a shape, with random weights: llama-15m, llama-135m, llama-1.1b, or layers,width,heads,"
        "kv heads,feed-forward width,vocabulary. Left out, with --vs: the table of these three shapes, with its goals",
    )
    parser.add_argument(
        "--bits",
        type=bits,
        metavar="B",
        help="of a weight: 32, 16, 8 or 4, or several: 16,8,4 (default: those that generate takes; 32 of a shape)",
    )
    parser.add_argument(
        "--vs", choices=PEERS, help="run this program too, on the same weights, in turns, where it is installed"
    )
    parser.add_argument(
        "--start", action="store_true", help="measure the time from opening the model to its first token, too"
    )
    parser.add_argument("--quick", action="store_true", help="few tokens, few turns: a first look, not a figure")
    parser.add_argument(
        "--prompt", type=int, metavar="N", help=f"tokens that are read (default {PROMPT}, or what fits)"
    )
    parser.add_argument(
        "--tokens", type=int, metavar="N", help=f"tokens that are written (default {WRITTEN}, or what fits)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each side (default: torch's own choice)")
    parser.add_argument("--plot", metavar="FILE", help="draw the roofline: .svg, .png or .pdf")
    parser.add_argument("--json", action="store_true", help="print every figure as one object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure the machine, then the model, by itself or beside a peer."""
    from ...weights.atomic import check_file

    if arguments.model is None and arguments.vs is None:
        raise CutawayError(
            "No model was named. Name one, or a shape; or compare all shapes: cutaway bench --vs llama.cpp"
        )
    if arguments.plot is not None:
        if arguments.vs is not None:
            raise CutawayError("--plot draws one model by itself. Leave out --vs or --plot.")
        check_file(Path(arguments.plot))
    _set_threads(arguments.threads)
    return _run_alone(arguments) if arguments.vs is None else _run_versus(arguments)


def _run_alone(arguments: argparse.Namespace) -> int:
    from ..bench.measure import REPETITIONS, check, measure
    from ..bench.shapes import architecture_of, model_of
    from ..bench.show import as_dict, roofline, show, show_start, start_dict
    from .inspect import plain_console

    name = arguments.model
    config, all_bits = architecture_of(name), arguments.bits or _usual(name)
    plan = _plan(arguments, config.context)
    check(config, plan.num_prompt, plan.num_written)
    machine, turns = _machine(all_bits), plan.turns if arguments.quick else REPETITIONS
    sizes = {"num_prompt": plan.num_prompt, "num_written": plan.num_written, "repetitions": turns}
    found = [measure(model_of(name), machine, bits=bits, **sizes) for bits in all_bits]
    started = [_start(name, bits, plan) for bits in all_bits] if arguments.start else []
    if arguments.json:
        print_json({**as_dict(name, found), **({"start": [start_dict(each) for each in started]} if started else {})})
    else:
        show(name, found, plain_console())
        for each in started:
            show_start(each, plain_console())
    if arguments.plot is not None:
        roofline(name, found).save(arguments.plot)
        if not arguments.json:
            print(f"Written to {arguments.plot}")
    return 0


def _run_versus(arguments: argparse.Namespace) -> int:
    from ..bench.goals import START_BITS, START_OF
    from ..bench.peers import find_peer
    from ..bench.shapes import architecture_of
    from ..bench.show_versus import Row, show_versus, versus_dict
    from ..bench.versus import compare
    from .inspect import plain_console

    peer = find_peer(arguments.vs)
    wanted = _wanted(arguments.model, arguments.bits, peer)
    plan = _plan(arguments, min(architecture_of(name).context for name in wanted))
    machine = _machine([bits for all_bits in wanted.values() for bits in all_bits])
    rows: list[Row] = []
    for name, all_bits in wanted.items():
        _tell(f"Comparing {name} …")
        rows += [Row(name=name, compared=each) for each in compare(name, all_bits, peer, machine, plan)]
    started = []
    if arguments.start or arguments.model is None:
        name = arguments.model or START_OF
        _tell(f"Starting {name} …")
        started = [_start(name, bits, plan) for bits in (wanted[name] if arguments.model else [START_BITS])]
    if arguments.json:
        print_json(versus_dict(rows, machine, peer, plan, started))
    else:
        show_versus(rows, machine, peer, plan, started, plain_console())
    return 2 if any(row.compared.void for row in rows) else 0


def _wanted(model: str | None, bits: Sequence[int] | None, peer: Peer) -> dict[str, list[int]]:
    """What is compared: the bits by model. Without a model, the rows of the table that the peer can be beside."""
    from ..bench.goals import TABLE

    if model is not None:
        return {model: list(bits or [each if each in peer.kinds else FULL for each in _usual(model)])}
    found: dict[str, list[int]] = {}
    for name, width in TABLE:
        if width in peer.kinds and (bits is None or width in bits):
            found.setdefault(name, []).append(width)
    if not found:
        raise CutawayError(
            f"The table of goals has no such --bits for {peer.name}. Leave it out, or name a model or a shape."
        )
    return found


def _usual(name: str) -> tuple[int]:
    """The bits in which `generate` runs a model when nobody says."""
    from ...tasks.bits import usual_bits
    from ..bench.shapes import is_shape

    return (FULL,) if is_shape(name) else (usual_bits(name),)


def _start(name: str, bits: int, plan: Plan) -> Started:
    from ..bench.start import STARTS, measure_start

    return measure_start(name, bits, plan.threads, starts=min(STARTS, plan.turns))


def _machine(all_bits: Sequence[int]) -> Machine:
    """This machine, with the rates of our own products beside torch's."""
    from ...runtime.roofline import measure_machine
    from ..bench.precision import check_bits, peak_of_products

    for bits in all_bits:
        check_bits(bits)
    found = measure_machine()
    narrow = dict(found.narrow)
    for bits in {bits for bits in all_bits if bits < FULL}:
        narrow[bits] = max(narrow.get(bits, 0.0), peak_of_products(bits))
    return replace(found, narrow=narrow)


def _plan(arguments: argparse.Namespace, context: int) -> Plan:
    """What was asked for; what was not is what fits, the prompt first."""
    import torch

    from ..bench.versus import TURNS, Plan

    prompt, tokens, turns = (QUICK_PROMPT, QUICK_WRITTEN, QUICK_TURNS) if arguments.quick else (PROMPT, WRITTEN, TURNS)
    written = max(1, min(tokens, context // 4)) if arguments.tokens is None else arguments.tokens
    read = max(1, min(prompt, context - written - 1)) if arguments.prompt is None else arguments.prompt
    return Plan(num_prompt=read, num_written=written, turns=turns, threads=torch.get_num_threads())


def bits(words: str) -> tuple[int, ...]:
    """16,8,4 -> (16, 8, 4). Its name stands in what argparse says of other words."""
    return tuple(int(word) for word in words.split(","))


def _tell(sentence: str) -> None:
    """What is going on, for whoever looks."""
    if sys.stderr.isatty():
        print(sentence, file=sys.stderr)


def _set_threads(number: int | None) -> None:
    if number is None:
        return
    if not 1 <= number <= MOST_THREADS:
        raise CutawayError(f"--threads is {number}. Allowed: 1 to {MOST_THREADS}.")
    import torch

    torch.set_num_threads(number)
