"""Who fills a hole best. In: run directories. Out: how many hidden tokens each says rightly, over the length of the hole.

    python recipes/paradigms/infill.py runs/paradigms/*

A passage of held-out text loses some tokens from its middle. A model that writes from left to right has what stands before the
hole; one of diffusion has both sides, one of blocks what stands before and, behind, the rest of its block. All are greedy;
diffusion fills the place that it is surest of first. Only the token itself counts: a good word in its place is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cutaway.data import Source, read_documents
from cutaway.decode import Engine, Sampling, Session, Way, name_of, natural
from cutaway.errors import CutawayError
from cutaway.lm import LM, load

HERE = Path(__file__).parent
LENGTHS = (1, 4, 8, 16)
GREEDY = Sampling(temperature=0)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table of the runs."""
    asked = parser("How well runs of the recipes in this folder fill holes.", num_passages=200)
    arguments = asked.parse_args(words)
    if arguments.length <= max(LENGTHS):
        asked.error(f"--length is {arguments.length}, and the longest hole has {max(LENGTHS)} tokens. Give more.")
    try:
        models = [load(place) for place in arguments.runs]
        print(f"| run | {' | '.join(f'{length} hidden' for length in LENGTHS)} |\n|---|{'--:|' * len(LENGTHS)}")
        for place, lm in zip(arguments.runs, models, strict=True):
            shares = [right(lm, passages(lm, arguments), length) for length in LENGTHS]
            print(f"| {place.name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    except CutawayError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parser(description: str, *, num_passages: int) -> argparse.ArgumentParser:
    """The options of the command line that all scripts about passages have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("runs", type=Path, nargs="+", help="the directories of finished runs")
    texts = HERE.parent / "stories" / "data" / "children.heldout.jsonl"
    made.add_argument("--texts", type=Path, default=texts, help="held-out texts")
    made.add_argument(
        "--passages", type=at_least(1), default=num_passages, help=f"how many passages (default {num_passages})"
    )
    made.add_argument("--length", type=at_least(2), default=64, help="tokens of a passage (default 64)")
    return made


def at_least(least: int) -> Callable[[str], int]:
    """A whole number of the command line that is not below `least`."""

    def number(word: str) -> int:
        try:
            found = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"it is {word!r}. Give a whole number, at least {least}.") from None
        if found < least:
            raise argparse.ArgumentTypeError(f"it is {found}. It must be at least {least}.")
        return found

    return number


def passages(lm: LM, arguments: argparse.Namespace) -> list[list[int]]:
    """Passages one after another, of as many tokens each. Raises CutawayError for a text that is too short."""
    found: list[list[int]] = []
    for text in read_documents(Source(files=str(arguments.texts.resolve()))):
        ids = lm.tokenizer.encode(text)
        starts = range(0, len(ids) - arguments.length, arguments.length)
        found += [ids[start : start + arguments.length] for start in starts]
        if len(found) >= arguments.passages:
            return found[: arguments.passages]
    raise CutawayError(f"{arguments.texts} gives {len(found)} passages of {arguments.length} tokens. Ask for fewer.")


def right(lm: LM, texts: Sequence[Sequence[int]], length: int) -> float:
    """The share of hidden tokens that are said rightly, of a hole of so many tokens in the middle of each text."""
    start = (len(texts[0]) - length) // 2
    is_filled = name_of(lm.config) == "diffusion"
    way = Way(decoder="diffusion" if is_filled else "autoregressive")
    engine: Engine[int] = Engine()
    decoders = [
        natural(
            Session(lm.model),
            with_hole(lm, text, start, length) if is_filled else text[:start],
            GREEDY,
            max_tokens=0 if is_filled else length,
            way=way,
            eos_ids=(),
        )
        for text in texts
    ]
    counts = [
        event.new == texts[index][event.position] for index, event in engine.run(decoders) if event.new is not None
    ]
    return sum(counts) / len(counts)


def with_hole(lm: LM, text: Sequence[int], start: int, length: int) -> list[int]:
    """The text with mask tokens in some places."""
    mask = lm.config.tokens.mask
    assert mask is not None, "a model of hidden tokens has a mask"
    return [*text[:start], *[mask] * length, *text[start + length :]]


if __name__ == "__main__":
    sys.exit(main())
