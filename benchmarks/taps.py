"""What taps cost while nobody watches. In: two sizes. Out: time of a forward pass against the same source without the tap calls.

Both models live in one process, share their weights, and take turns pass by pass; their logits must be equal bit for bit.
"""

from __future__ import annotations

from figure import BenchmarkError, Options, Row, at_most_share, sample
from worker import Worker

MOST = 0.02
MILLISECONDS = "{:.3f} ms"
SIZES = ({"num_layers": 5, "d_model": 128, "vocab_size": 256}, {"num_layers": 6, "d_model": 512, "vocab_size": 2048})
NUM_TOKENS = 64
SECONDS = 20.0


def measure(options: Options) -> list[Row]:
    """A pass over a row of tokens (the goal), a pass over one more token with a cache, and one tap by itself."""
    rows = []
    for size in SIZES:
        with Worker("sides.taps", "with_and_without", **size) as side:
            whole = side.ask(num_tokens=NUM_TOKENS, seconds=_seconds(options))
            one = side.ask(num_tokens=1, seconds=_seconds(options))
        _check(whole)
        _check(one)
        name = f"taps off, {whole['num_parameters'] / 1e6:.1f} M parameters"
        rows += [
            _row(f"{name}, {NUM_TOKENS} tokens ({whole['num_passed']} taps)", whole, MOST),
            _row(f"{name}, one more token, cached", one, None),
        ]
    return [*rows, Row(name="one tap, nobody watching", ours=sample([whole["nanoseconds"]], "{:.0f} ns"))]


def _seconds(options: Options) -> float:
    return 0.2 if options.is_quick else SECONDS


def _row(name: str, answer: dict[str, list[float]], most: float | None) -> Row:
    with_taps, without = sample(answer["with_taps"], MILLISECONDS), sample(answer["without"], MILLISECONDS)
    return at_most_share(name, with_taps, without, most)


def _check(answer: dict[str, float]) -> None:
    if not answer["num_removed"]:
        raise BenchmarkError("No tap call was removed: the source calls them otherwise than `call.tap(site, tensor)`.")
    if not answer["is_equal"]:
        raise BenchmarkError("The logits with and without tap calls differ.")
