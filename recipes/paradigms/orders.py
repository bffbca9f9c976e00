"""What a text costs in one order. In: run directories. Out: bits per byte from left to right, exactly, and in orders at random.

    python recipes/paradigms/orders.py runs/paradigms/*

A model of hidden tokens gives a text another probability in every order in which it may be filled in, one token a pass. From
left to right that is an exact value: of the model as an autoregressive one. The mean over orders at random is the bound. It
bounds the −log of the mean probability over all orders, which a few orders estimate, from above. A model of blocks goes block
by block, so its orders differ within blocks alone. All see the same passages, whose first token is given.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent))  # of infill.py and measure.py
from infill import at_least, parser, passages
from measure import spread

from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.train.likelihood import nats_in_order
from cutaway.train.seeds import group_by_seed, mean_of
from cutaway.train.summary import run_events, summarise

Figures = tuple[float, float, float]


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, a line for each recipe."""
    asked = parser("What held-out passages cost runs of the recipes in this folder, by order.", num_passages=32)
    asked.add_argument("--orders", type=at_least(1), default=4, help="how many orders at random (default 4)")
    arguments = asked.parse_args(words)
    try:
        groups = group_by_seed(arguments.runs, [summarise(run, run_events(run)) for run in arguments.runs])
        print("| recipe | left to right | orders at random | of their mean probability |\n|---|--:|--:|--:|")
        for group in groups:
            found = [bits_per_byte(load(run), arguments) for run in group.runs]
            cells = [mean_of(values) for values in zip(*found, strict=True)]
            shown = [spread(each, ".3f") for each in cells]
            print(f"| {group.name} | {' | '.join(shown)} |", flush=True)
    except CutawayError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def bits_per_byte(lm: LM, arguments: argparse.Namespace) -> Figures:
    """From left to right; the mean over orders; and that of the mean of their probabilities."""
    texts = passages(lm, arguments)
    num_bytes = sum(len(lm.tokenizer.decode(ids[1:]).encode()) for ids in texts)
    found = [nats(lm, ids, arguments.orders, number) for number, ids in enumerate(texts)]
    left, mean, best = (sum(values) / num_bytes / math.log(2) for values in zip(*found, strict=True))
    return left, mean, best


def nats(lm: LM, ids: Sequence[int], num_orders: int, seed: int) -> Figures:
    """Of one passage. A model that predicts the next token knows one order, whose value all three are."""
    if lm.config.says_next:
        logs = lm.logits(ids)[0, :-1].double().log_softmax(-1)
        exact = -float(logs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).sum())
        return exact, exact, exact
    left = nats_in_order(lm.model, ids, range(1, len(ids)))
    drawn = [
        nats_in_order(lm.model, ids, shuffled(lm, len(ids), seed + draw)) for draw in range(0, 1000 * num_orders, 1000)
    ]
    spread = torch.tensor(drawn, dtype=torch.float64).neg().logsumexp(0) - math.log(num_orders)
    return left, sum(drawn) / num_orders, -float(spread)


def shuffled(lm: LM, length: int, seed: int) -> list[int]:
    """All places but the first, in any order that the model knows: a block at a time."""
    places, size = list(range(1, length)), lm.config.block_size or length
    random.Random(seed).shuffle(places)
    return sorted(places, key=lambda place: place // size)


if __name__ == "__main__":
    sys.exit(main())
