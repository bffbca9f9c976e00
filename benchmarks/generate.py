"""Generating with a cache. In: a model. Out: tokens a second against transformers' `generate`, from the same checkpoint.

Both take the likeliest token 200 times, from the same prompt; the token that ends a text ends nothing here. The two must
choose the same tokens.
"""

from __future__ import annotations

from functools import partial

from figure import BenchmarkError, Options, Row, alternate, at_least, sample
from worker import Worker

SIDES = "sides.generate"
PROMPT = "Once upon a time"
NUM_TOKENS = 200
GOAL = 1.5
REPETITIONS = 9


def measure(options: Options) -> list[Row]:
    """Tokens a second of both, after one turn to warm up."""
    settings = {"model": options.model, "prompt": PROMPT, "num_tokens": NUM_TOKENS}
    with Worker(SIDES, "ours", **settings) as ours, Worker(SIDES, "peer", **settings) as peer:
        _check(ours.ask()["ids"], peer.ask()["ids"])
        rates: dict[str, list[float]] = {"ours": [], "peer": []}

        def turn(name: str, side: Worker) -> None:
            rates[name].append(NUM_TOKENS / side.ask()["seconds"])

        alternate(options.repeat(REPETITIONS), partial(turn, "ours", ours), partial(turn, "peer", peer))
    samples = {name: sample(values, "{:,.0f} tokens/s") for name, values in rates.items()}
    return [at_least(f"{NUM_TOKENS} tokens, greedy, cached", samples["ours"], samples["peer"], GOAL)]


def _check(ours: list[int], peers: list[int]) -> None:
    if len(ours) != NUM_TOKENS or len(set(ours)) == 1:
        raise BenchmarkError(f"{len(ours)} tokens were generated, {len(set(ours))} of them different: too few.")
    if ours != peers:
        place = next(i for i, (one, other) in enumerate(zip(ours, peers, strict=False)) if one != other)
        raise BenchmarkError(f"The tokens differ from number {place} on: {ours[place]} and {peers[place]}.")
