"""`cutaway generate`: continue a text. In: a model and prompts. Out: text as it comes, or one JSON object."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import add_sampling, command, print_json, sampling_of

if TYPE_CHECKING:
    from ...lm import LM


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway generate stories "Once upon a time" --max-tokens 120 --seed 3'
    parser = command(commands, "generate", "continue a text", example)
    parser.add_argument("model", metavar="MODEL", help="a checkpoint or run directory, or a bundled model: stories")
    parser.add_argument(
        "prompt", metavar="PROMPT", nargs="*", help="the text to continue; several make a batch; - reads stdin"
    )
    parser.add_argument("--max-tokens", type=int, default=200, metavar="N", help="at most N new tokens (default 200)")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; repeatable")
    parser.add_argument("--json", action="store_true", help="print {text, token_ids, events} instead")
    add_sampling(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Generate as the options say."""
    from ...lm import load

    prompts = _prompts(arguments.prompt)
    lm = load(arguments.model)
    if len(prompts) > 1:
        return _run_batch(lm, prompts, arguments)
    if arguments.json:
        print_json(_as_json(lm, prompts[0], arguments))
        return 0
    print(prompts[0], end="", flush=True)
    for piece in _stream(lm, prompts[0], arguments):
        print(piece.text, end="", flush=True)
    print()
    figures = lm.figures
    if sys.stderr.isatty():
        print(f"\n{figures.num_tokens} tokens, {figures.tokens_per_second:,.0f} tokens/s", file=sys.stderr)
    return 0


def _prompts(words: Sequence[str]) -> list[str]:
    prompts = [sys.stdin.read() if word == "-" else word for word in words] or [""]
    for prompt in prompts:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise CutawayError(
                "The prompt is not valid UTF-8. Check the terminal's encoding, or pass the text by a pipe: -"
            )
    return prompts


def _stream(lm: LM, prompt: str, arguments: argparse.Namespace) -> Any:
    return lm.stream(prompt, max_tokens=arguments.max_tokens, sampling=sampling_of(arguments), stop=arguments.stop)


def _as_json(lm: LM, prompt: str, arguments: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    pieces = list(_stream(lm, prompt, arguments))
    events = list(dict.fromkeys(piece.event for piece in pieces))
    return {
        "text": "".join(piece.text for piece in pieces),
        "token_ids": [event.new for event in events if event.is_final],
        "events": [asdict(event) for event in events],
    }


def _run_batch(lm: LM, prompts: list[str], arguments: argparse.Namespace) -> int:
    found = lm.generate_batch(
        prompts, max_tokens=arguments.max_tokens, sampling=sampling_of(arguments), stop=arguments.stop
    )
    if arguments.json:
        print_json([{"prompt": prompt, "text": text} for prompt, text in zip(prompts, found, strict=True)])
        return 0
    print("\n\n".join(prompt + text for prompt, text in zip(prompts, found, strict=True)))
    return 0
