"""Why writing waits for memory. In: a size. Out: how fast this machine reads, and how fast it writes tokens.

To write one token, every weight is read once and used for one multiplication and one addition. So a token cannot take less
time than the memory takes to give all weights (Pope et al. 2022 §2.1; Williams et al. 2009 for the bound):

    tokens a second ≤ bytes a second that the memory gives / bytes of weights that a token needs

Several prompts in one pass use each weight several times for one reading, so a pass for many takes hardly longer than for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from ..config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from ..cost import bytes_per_generated_token, flops_per_token
from ..lens.numerals import chance, number
from ..lm import LM
from ..model import Call, Transformer
from ..model.visibility import causal
from ..runtime.attend import fused
from ..runtime.kernels import accelerate
from .figures import Bar, Bars, Curve, Line, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_decoder
from .settings import Setting, Settings, whole

MEGA = 10**6
WIDTH, BYTES = 768, 4
BATCHES = (1, 2, 4, 8)
NUM_ROUNDS, LEAST_ROUNDS, MOST_SECONDS = 7, 3, 0.4  # of one measurement; seconds for each work that is measured


@dataclass(frozen=True, slots=True)
class Speed:
    """A model's passes. num_bytes, flops: that one token needs; rounds: for each, the seconds of a pass for each number of
    prompts in `batches`, one after the other.
    """

    name: str
    num_bytes: float
    flops: int
    batches: tuple[int, ...]
    rounds: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of a pass for each number of prompts, the fastest."""
        return tuple(map(min, zip(*self.rounds, strict=True)))

    @property
    def times(self) -> float:
        """How many times as long as for one prompt a pass for the most takes: the median of the rounds."""
        return median(each[-1] / each[0] for each in self.rounds)

    def predicted(self, bandwidth: float) -> float:
        """Tokens a second for one prompt, if reading the weights is all that takes time. bandwidth: bytes a second."""
        return bandwidth / self.num_bytes

    @property
    def measured(self) -> float:
        """Tokens a second for one prompt."""
        return 1 / self.seconds[0]


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """How large the large model is, and how many prompts are read at once."""
    return (
        whole("megabytes", "Weights of the large model, MB", 240, 60, 1000),
        whole("prompts", "Prompts in one pass, at most", 4, 2, 8),
    )


def show(lm: LM, given: Settings) -> Shown:
    """Measure the memory, then the passes of the loaded model and of a large one."""
    most = given.whole("prompts")
    batches = tuple(sorted({*(batch for batch in BATCHES if batch < most), most}))
    bandwidth = read_bandwidth(given.whole("megabytes") * MEGA)
    large = speed("large", large_model(given.whole("megabytes") * MEGA), batches)
    loaded = speed(lm.name, lm.model, (1,))
    times = large.times
    return Shown(
        text=(
            "To write one token, a model uses each of its weights once: one multiplication, one addition. The "
            f"weights have to come from memory, and this machine reads {_rate(bandwidth)}. A large model of "
            f"{large.num_bytes / MEGA:,.0f} MB can therefore write {large.predicted(bandwidth):,.0f} tokens a second "
            f"at most. Measured just now: {large.measured:,.0f}.",
            "Where reading takes the time, a weight that was read can serve any number of prompts. One pass for "
            f"{most} prompts took {number(times)} times as long as for one, so {number(most / times)} times as many "
            "tokens came out of it. Half as many bytes for each weight would help in the same way.",
            f"The model that is loaded, {lm.name}, is {loaded.num_bytes / MEGA:,.0f} MB. A model that fits into the "
            "processor's cache does not wait for memory but for other things; the share in the table says how near "
            "each comes to the bound.",
        ),
        figures=(_table([large, loaded], bandwidth), _curve(large), _bars(large)),
        findings=(
            Finding(label="Memory read", value=_rate(bandwidth)),
            Finding(label="Bytes of weights for one token, large", value=f"{large.num_bytes:,.0f}"),
            Finding(label="Additions and multiplications for each byte", value=number(large.flops / large.num_bytes)),
            Finding(label="Threads", value=str(torch.get_num_threads())),
        ),
        wrong=Check(
            claim=f"One pass for {most} prompts that takes nearly as long as {most} passes.",
            threshold=f"{number(_halfway(most))} times as long as for one, or more: halfway from 1 to {most}",
            found=f"{number(times)} times",
            holds=times < _halfway(most),
        ),
        fair="Bandwidth and passes were measured on as many bytes, each as the fastest of several tries. Passes for one "
        "prompt and for several took turns, so that what else this machine did fell on all of them, and how many times as "
        "long is the median of the turns. The large model has random weights: time does not depend on their values.",
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(works: Sequence[Callable[[], object]]) -> tuple[tuple[float, ...], ...]:
    """Seconds of each, one after the other, [round][work]: NUM_ROUNDS times, or as often as MOST_SECONDS for each allow,
    LEAST_ROUNDS at least.
    """
    found: list[tuple[float, ...]] = []
    started = time.perf_counter()
    while len(found) < LEAST_ROUNDS or (
        len(found) < NUM_ROUNDS and time.perf_counter() - started < MOST_SECONDS * len(works)
    ):
        found.append(tuple(timed(work) for work in works))
    return tuple(found)


def read_bandwidth(num_bytes: int) -> float:
    """Bytes a second that a sum over so many bytes reads."""
    numbers = torch.ones(num_bytes // BYTES)
    return num_bytes / min(seconds for (seconds,) in in_turn([numbers.sum]))


def large_model(num_bytes: int) -> Transformer:
    """A decoder with random weights of about so many bytes."""
    layer = 12 * WIDTH**2 * BYTES
    stack = StackConfig(
        num_layers=max(1, round(num_bytes / layer)),
        d_model=WIDTH,
        attention=AttentionConfig(num_heads=WIDTH // 64),
        feedforward=FeedForwardConfig(d_hidden=4 * WIDTH),
    )
    made = Transformer(ModelConfig(vocab_size=256, context=16, decoder=stack)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in made.parameters():
        weight.uniform_(-0.03, 0.03, generator=generator)
    accelerate(made)
    return made


def speed(name: str, model: Transformer, batches: Sequence[int]) -> Speed:
    """The time of a pass with one new token for each of several prompts."""

    call = Call(causal(1), attend=fused)
    works = [partial(model, torch.zeros(batch, 1, dtype=torch.long), call) for batch in batches]
    num_bytes = bytes_per_generated_token(model.config, 1, model.token.weight.element_size())
    flops = flops_per_token(model.config, 1)
    return Speed(name, num_bytes, flops, tuple(batches), in_turn(works))


def _table(speeds: Sequence[Speed], bandwidth: float) -> Table:
    rows = [
        (
            each.name,
            f"{each.num_bytes / MEGA:,.0f}",
            f"{each.predicted(bandwidth):,.0f}",
            f"{each.measured:,.0f}",
            chance(each.measured / each.predicted(bandwidth)),
        )
        for each in speeds
    ]
    return Table(
        title="Tokens a second, for one prompt",
        caption=f"At most: {_rate(bandwidth)} divided by the megabytes of a token.",
        source="bandwidth ÷ bytes",
        heads=("model", ">MB a token", ">at most", ">measured", ">share"),
        rows=tuple(rows),
    )


def _curve(large: Speed) -> Curve:
    """Tokens a second by the number of prompts; beside it, if every prompt read the weights for itself."""
    pairs = zip(large.batches, large.seconds, strict=True)
    points = tuple((float(batch), batch / seconds) for batch, seconds in pairs)
    alone = tuple((float(batch), large.measured) for batch in large.batches)
    return Curve(
        title="Prompts in one pass, the large model",
        caption="Tokens a second, all prompts together: as measured, and if each prompt read the weights for itself.",
        source="measured",
        x="prompts",
        y="tokens a second",
        lines=(Line(label="measured", points=points), Line(label="each by itself", points=alone)),
    )


def _bars(large: Speed) -> Bars:
    pairs = zip(large.batches, large.seconds, strict=True)
    return Bars(
        title="Time of one pass, the large model",
        caption="In milliseconds.",
        source="measured",
        rows=tuple(
            Bar(label=f"{batch} prompts" if batch > 1 else "1 prompt", value=seconds, text=f"{seconds * 1000:,.0f} ms")
            for batch, seconds in pairs
        ),
        scale=max(large.seconds),
    )


def _halfway(most: int) -> float:
    return (1 + most) / 2


def _rate(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:,.1f} GB a second"


ENTRY = Entry(
    name="memory",
    title="Why does writing wait for memory?",
    line="bytes for each token and tokens a second, measured on this machine",
    check=need_decoder,
    settings=settings,
    show=show,
)
