"""What looking costs. In: the shape of GPT-2 small, random weights. Out: time of a traced pass against a plain one.

Both are of one model in one process and take turns pass by pass: the streams alone, and every site (scores and weights too, for
which attention runs as the readable softmax).
"""

from __future__ import annotations

from figure import Options, Row, at_most_share, sample
from worker import Worker

SIZE = {"num_layers": 12, "d_model": 768, "num_heads": 12, "vocab_size": 50257}
SMALL = {"num_layers": 2, "d_model": 32, "num_heads": 2, "vocab_size": 64}
MOST = {"*residual*": 0.10, "*": 0.40}
NAMES = {"*residual*": "the residual streams", "*": "every site"}
NUM_TOKENS, SECONDS = 128, 30.0
MILLISECONDS = "{:.1f} ms"


def measure(options: Options) -> list[Row]:
    """A row for each choice of sites."""
    rows = []
    with Worker("sides.capture", "traced_and_plain", **(SMALL if options.is_quick else SIZE)) as side:
        for sites, most in MOST.items():
            answer = side.ask(sites=sites, num_tokens=NUM_TOKENS, seconds=0.2 if options.is_quick else SECONDS)
            traced, plain = (sample(answer[name], MILLISECONDS) for name in ("traced", "plain"))
            size = f"{answer['num_parameters'] / 1e6:.0f} M parameters, {NUM_TOKENS} tokens"
            name = f"tracing {NAMES[sites]} ({answer['num_bytes'] / 1e6:.0f} MB), {size}"
            rows.append(at_most_share(name, traced, plain, most))
    return rows
