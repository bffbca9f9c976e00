"""What several commands declare alike. In: a parser. Out: the same parser with options, and settings read back from them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError

if TYPE_CHECKING:
    from ...decode import Sampling
    from ...lm import LM
    from ...runtime.cache import Cache

ADAPTER_HELP = "a directory with low-rank adapters for the model: adapter_config.json and adapter_model.safetensors"
BUNDLED = "stories, stories-chat, stories-hybrid, translate-de-en"
MOST_THREADS = 256
MODEL_HELP = f"a checkpoint or run directory, a .gguf file, or a bundled model ({BUNDLED})"


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


def add_bits(parser: argparse.ArgumentParser) -> None:
    """The option that says in how many bits the matrices of a model are kept."""
    parser.add_argument(
        "--bits",
        type=int,
        metavar="N",
        help="keep the matrices in 32, 16, 8 or 4 bits (default: 8 where the model was measured to lose little by it, else 32); "
        "on a GPU all weights in 32 or 16 (default: 16 where the file holds 16)",
    )


def open_lm(arguments: argparse.Namespace, name: str, adapter: str | None = None) -> LM:
    """The model on the device, in the bits and with the cache that the options say.

    When nobody says in how many bits: on a processor, those that were found good for the model by itself.
    """
    from ...lm import load
    from ...runtime import machine
    from ...tasks.bits import usual_bits

    cache, device = cache_of(arguments), machine.find_device(arguments.device, "--device")
    bits = arguments.bits
    if bits is None and adapter is None and not machine.is_gpu(device):
        bits = usual_bits(name)
    lm = load(name, adapter=adapter, bits=bits, device=device.type)
    lm.cache = cache
    return lm


def add_machine(parser: argparse.ArgumentParser) -> None:
    """The options that decide how the machine is used."""
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="cpu, cuda, or auto (default): a GPU where torch sees one"
    )
    group.add_argument(
        "--cache",
        type=int,
        metavar="BITS",
        help="keep keys and values in 32, 16 or 8 bits a number (default: as the model computes them)",
    )
    group.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")


def use_machine(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> None:
    """Set the threads. Raises CutawayError for a number that no machine runs well with, also where a variable has it."""
    said = {"--threads": arguments.threads}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = environment.get(name, "").split(",")[0].strip()
        said[name] = int(first) if first.removeprefix("-").isdigit() else None
    for name, number in said.items():
        if number is not None and not 1 <= number <= MOST_THREADS:
            raise CutawayError(
                f"{name} is {number}. Allowed: 1 to {MOST_THREADS}; left out, torch takes what the machine has."
            )
    if arguments.threads is not None:
        import torch

        torch.set_num_threads(arguments.threads)


def cache_of(arguments: argparse.Namespace) -> Cache:
    """How sessions keep what they read, as the options say."""
    from ...runtime.cache import Cache

    return Cache(bits=arguments.cache)


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


def words_of(words: list[str]) -> tuple[str | None, str | None]:
    """The model and the text (or file) of a command that takes [MODEL] [TEXT]; a single word that names a model is one."""
    if len(words) > 2:
        raise CutawayError(f"There are {len(words)} words: {', '.join(words)}. Give a model and a text, in quotes.")
    if len(words) == 2:
        return words[0], words[1]
    if words and not os.path.isfile(words[0]) and is_model(words[0]):
        return words[0], None
    return None, words[0] if words else None


def text_of(name: str | None) -> str:
    """The text of a file, or of standard input where the name is None or -.

    Raises CutawayError for a file that is missing, what is no UTF-8 text, and a text of nothing but spaces.
    """
    if name is not None and name != "-":
        from ...data.sources import read_text

        text, shown = read_text(Path(name).expanduser()), name
    else:
        text, shown = _standard_input(), "Standard input"
    if not text.strip():
        raise CutawayError(f"{shown} is empty. Name a file with a text, or pass one by a pipe.")
    return text


def _standard_input() -> str:
    if sys.stdin.isatty():
        raise CutawayError("There is no text. Name a file, or pass a text by a pipe.")
    try:
        text = sys.stdin.read()
        text.encode("utf-8")
    except UnicodeError:
        raise CutawayError("Standard input is not valid UTF-8. Convert the text, or name a file.") from None
    return text.removeprefix("\ufeff")


def is_model(word: str) -> bool:
    """Whether a word names a model on this machine, without opening or fetching it."""
    from ...finding import bundled_models

    path = Path(word).expanduser()
    return word in bundled_models() or any(os.path.isfile(path / name) for name in ("config.json", "recipe.json"))


@contextmanager
def counting(total: float, what: str) -> Iterator[Callable[..., None]]:
    """A bar on standard error while something is done piece by piece; nothing where nobody looks, or there is one piece alone.

    Yields what is to be told how many are done, and, where that has changed, how many there are.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} " + what),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, visible=total > 1)
        yield lambda done, of=total: bar.update(task, completed=done, total=of, visible=of > 1)
