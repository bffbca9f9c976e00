"""Training throughput and memory. In: two shapes. Out: tokens a second against transformers' GPT-2 class, both with AdamW.

The sides are processes that live side by side and take turns of a few steps. The peer is the loop that its documentation
shows (`model(ids, labels=ids).loss.backward()`, torch's AdamW as it comes); its dropout is 0, for ours has none. Ours does
more in a step, as `cutaway train` does: it also clips the gradient. Beside it stands the peer at its best: fused AdamW, and no
cache of keys and values while training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

from figure import BenchmarkError, Options, Row, Sample, alternate, at_least, no_higher, sample, within
from worker import Worker

OURS, PEER = "sides.training_ours", "sides.training_peer"
RATE, PEAK, MEGABYTES, SHARE = "{:,.0f} tokens/s", "{:,.0f} GFLOP/s", "{:,.0f} MB", "{:.1%}"
REPETITIONS = 9
MOST_IDLE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is trained."""

    num_layers: int
    num_heads: int
    d_model: int
    context: int
    vocab_size: int = 65


@dataclass(frozen=True, slots=True)
class Plan:
    """A shape and its batches, the steps of one turn, and the goal: how many times the peer's throughput."""

    shape: Shape
    batch_size: int
    num_steps: int
    goal: float

    def __str__(self) -> str:
        """The numbers in the usual order."""
        shape = self.shape
        return f"({shape.num_layers}, {shape.num_heads}, {shape.d_model}, {shape.context}, {self.batch_size})"


PLANS = (
    Plan(Shape(num_layers=4, num_heads=4, d_model=128, context=64), 12, 20, 1.75),
    Plan(Shape(num_layers=6, num_heads=6, d_model=384, context=256), 8, 2, 1.3),
)


def measure(options: Options) -> list[Row]:
    """Throughput, share of the machine's best matrix product, memory, and what the waiting sides did."""
    return [row for plan in PLANS for row in _measure(plan, options)]


def _measure(plan: Plan, options: Options) -> list[Row]:
    shape = asdict(plan.shape)
    with ExitStack() as open_sides:
        machine = open_sides.enter_context(Worker(OURS, "machine", **shape))
        sides = [
            open_sides.enter_context(Worker(module, function, batch_size=plan.batch_size, **shape))
            for module, function in ((OURS, "train"), (PEER, "train"), (PEER, "train_at_its_best"))
        ]
        products = [machine.ask(seconds=0.05 if options.is_quick else 1.0)]
        rates = _rates(sides, plan, options)
        products.append(machine.ask(seconds=0.05 if options.is_quick else 1.0))
    flops, peaks = products[0]["flops_per_token"], sample([product["peak"] / 1e9 for product in products], PEAK)
    memory = [sample([side.peak_bytes / 1e6], MEGABYTES) for side in sides]
    idle = sample([max(side.idle.cpu / side.idle.wall for side in sides)], SHARE)
    return [
        at_least(f"training {plan}", rates[0], rates[1], plan.goal),
        at_least(f"training {plan}, peer at its best", rates[0], rates[2], None),
        Row(name="… best square torch.mm, 1024–4096", ours=peaks),
        _shares("… share of it", rates, flops / 1e9 / max(peaks.values)),
        no_higher("… peak memory", memory[0], memory[1]),
        within("… CPU time while the others run (the most of a side)", idle, MOST_IDLE),
    ]


def _rates(sides: Sequence[Worker], plan: Plan, options: Options) -> list[Sample]:
    """Tokens a second of every side, in turns after one to warm up. Raises BenchmarkError for models of different size."""
    num_steps = 1 if options.is_quick else plan.num_steps
    num_tokens = num_steps * plan.batch_size * plan.shape.context
    rates: list[list[float]] = [[] for _ in sides]

    def turn(index: int) -> None:
        rates[index].append(num_tokens / sides[index].ask(num_steps=num_steps)["seconds"])

    sizes = {side.ask(num_steps=num_steps)["num_parameters"] for side in sides}
    if len(sizes) > 1:
        raise BenchmarkError(f"The models differ in size: {sorted(sizes)} parameters.")
    alternate(options.repeat(REPETITIONS), *(partial(turn, index) for index in range(len(sides))))
    return [sample(values, RATE) for values in rates]


def _shares(name: str, rates: Sequence[Sample], share_of_one: float) -> Row:
    ours, peer = (sample([value * share_of_one for value in side.values], SHARE) for side in rates[:2])
    return Row(name=name, ours=ours, peer=peer)
