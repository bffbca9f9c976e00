"""`cutaway generate`: continue a text. In: a model and prompts. Out: text as it comes, or one JSON object."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .decoders import DRAFTING, add_way, before_holes, beside_autoregressive, figures_of, is_holed, way_of
from .shared import (
    ADAPTER_HELP,
    MODEL_HELP,
    add_bits,
    add_machine,
    add_sampling,
    command,
    open_lm,
    print_json,
    sampling_of,
    use_machine,
)

if TYPE_CHECKING:
    from ...lm import LM, Piece


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway generate stories "Once upon a time" --max-tokens 120 --seed 3'
    parser = command(commands, "generate", "continue a text", example)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="*",
        help="the text to continue; several make a batch; - reads stdin, but for its last line break",
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="at most N new tokens (default 200, and 0 where a prompt has holes to be filled)",
    )
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; repeatable")
    parser.add_argument("--adapter", metavar="DIR", help=ADAPTER_HELP)
    parser.add_argument(
        "--json", action="store_true", help="print {text, token_ids, events} instead, of several prompts {results}"
    )
    add_bits(parser)
    add_sampling(parser)
    add_way(parser)
    add_machine(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Generate as the options say."""
    use_machine(arguments)
    prompts = _prompts(arguments.prompt)
    lm = open_lm(arguments, arguments.model, arguments.adapter)
    if len(prompts) > 1:
        return _run_batch(lm, prompts, arguments)
    plain, options = prompts[0], _options(lm, prompts, arguments)
    pieces = lm.stream(plain, **options)
    if arguments.json:
        print_json({**_as_json(list(pieces)), **figures_of(lm, plain, options)})
        return 0
    first = next(pieces, None)  # before the prompt is printed: what is wrong is said alone
    print(before_holes(lm, plain, options["way"]), end="", flush=True)
    last = first
    for piece in chain([] if first is None else [first], pieces):
        print(piece.text, end="", flush=True)
        last = piece
    print()
    if options["way"].decoder_for(lm.config) in DRAFTING:
        print(f"\n{beside_autoregressive(lm, plain, options)}", file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"\n{_closing(lm, last)}", file=sys.stderr)
    return 0


def _closing(lm: LM, last: Piece | None) -> str:
    """The speed, and whether the text grew longer than what the model reads at once."""
    speed = f"{lm.figures.num_tokens} tokens, {lm.figures.tokens_per_second:,.0f} tokens/s"
    event, stack = None if last is None else last.event, lm.config.main
    is_full = stack.position.is_table and event is not None and event.position >= lm.config.context
    if not is_full:
        return speed
    return f"{speed}. The model reads {lm.config.context} tokens at once; what lay before was forgotten on the way."


def _prompts(words: Sequence[str]) -> list[str]:
    try:
        prompts = [sys.stdin.read().removesuffix("\n") if word == "-" else word for word in words] or [""]
        for prompt in prompts:
            prompt.encode("utf-8")
    except UnicodeError:
        raise CutawayError(
            "The prompt is not valid UTF-8. Check the terminal's encoding, or pass the text by a pipe: -"
        ) from None
    return prompts


def _options(lm: LM, prompts: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    way, sampling = way_of(lm, prompts, arguments), sampling_of(arguments)
    has_holes = way.rewritten or any(is_holed(lm, prompt) for prompt in prompts)
    default = 0 if has_holes else 200
    max_tokens = default if arguments.max_tokens is None else arguments.max_tokens
    return {"max_tokens": max_tokens, "sampling": sampling, "stop": arguments.stop, "way": way}


def _as_json(pieces: Sequence[Piece]) -> dict[str, Any]:
    events = [piece.event for piece in pieces if piece.event is not None]
    return {
        "text": "".join(piece.text for piece in pieces),
        "token_ids": [event.new for event in events if event.is_final],
        "events": [asdict(event) for event in events],
    }


def _run_batch(lm: LM, prompts: list[str], arguments: argparse.Namespace) -> int:
    found: list[list[Piece]] = [[] for _ in prompts]
    options = _options(lm, prompts, arguments)
    for index, piece in lm.stream_batch(prompts, **options):
        found[index].append(piece)
    results = [{"prompt": prompt, **_as_json(pieces)} for prompt, pieces in zip(prompts, found, strict=True)]
    if arguments.json:
        print_json({"results": results})
        return 0
    print("\n\n".join(before_holes(lm, each["prompt"], options["way"]) + each["text"] for each in results))
    return 0
