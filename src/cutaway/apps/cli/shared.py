"""What several commands declare alike. In: a parser. Out: the same parser with options, and settings read back from them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...decode import Sampling

ADAPTER_HELP = "a directory with low-rank adapters for the model: adapter_config.json and adapter_model.safetensors"
MODEL_HELP = "a checkpoint or run directory, a .gguf file, or a bundled model: stories"


def command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """Declare a command with its one-line help and an example at the end of its own help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The options that decide how a token is chosen."""
    group = parser.add_argument_group("how a token is chosen")
    group.add_argument(
        "--temperature", type=float, default=0.8, metavar="T", help="0 takes the likeliest (default 0.8)"
    )
    group.add_argument("--top-k", type=int, metavar="K", help="only the K likeliest")
    group.add_argument("--top-p", type=float, metavar="P", help="only the likeliest that together hold P")
    group.add_argument(
        "--min-p", type=float, metavar="P", help="only those at least P times as likely as the likeliest"
    )
    group.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="R", help="above 1 repeats less (default 1)"
    )
    group.add_argument("--seed", type=int, default=0, help="the same seed gives the same text (default 0)")


def sampling_of(arguments: argparse.Namespace) -> Sampling:
    """The Sampling that the options describe."""
    from ...decode import Sampling

    return Sampling(
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        repetition_penalty=arguments.repetition_penalty,
        seed=arguments.seed,
    )


def print_json(value: Any) -> None:
    """One object on standard output."""
    print(json.dumps(value, ensure_ascii=False))
