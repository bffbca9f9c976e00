"""Who fills a hole best. In: run directories. Out: how many hidden tokens each says rightly, over the length of the hole.

    python recipes/paradigms/infill.py runs/paradigms/*

A passage of held-out text loses some tokens from its middle. A model that writes from left to right has what stands before the
hole; one of diffusion has both sides, one of blocks what stands before and, behind, the rest of its block. All are greedy;
diffusion fills the place that it is surest of first. Only the token itself counts: a good word in its place is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    arguments = parse(words)
    print(f"| run | {' | '.join(f'{length} hidden' for length in LENGTHS)} |\n|---|{'--:|' * len(LENGTHS)}")
    try:
        for place in arguments.runs:
            lm = load(place)
            shares = [right(lm, passages(lm, arguments), length) for length in LENGTHS]
            print(f"| {place.name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    except CutawayError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="How well runs of the recipes in this folder fill holes.")
    parser.add_argument("runs", type=Path, nargs="+", help="the directories of finished runs")
    parser.add_argument(
        "--texts", type=Path, default=HERE.parent / "stories" / "data" / "children.heldout.jsonl", help="held-out texts"
    )
    parser.add_argument("--passages", type=int, default=200, help="how many passages (default 200)")
    parser.add_argument("--length", type=int, default=64, help="tokens of a passage (default 64)")
    return parser.parse_args(words)


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
