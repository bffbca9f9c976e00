"""How fast a model reads and writes. In: a model and sizes. Out: seconds of a prompt and of a token, and where they went.

A prompt of n tokens is read in one pass, which is bound by arithmetic; a token is written by a pass over one token, which reads
every weight and every key and value once, and is bound by memory (Pope et al. 2022 §2.1).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from ...config import ModelConfig
from ...cost import bytes_per_generated_token, bytes_per_pass, flops_per_token, memory_bytes
from ...decode import Sampling, Session, autoregressive, run
from ...errors import CutawayError
from ...model import Transformer
from ...runtime.roofline import Machine
from .stopwatch import Stopwatch

REPETITIONS = 5


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of pass. num_tokens: of it; seconds: it took, the median; flops, num_bytes: what it does and moves at least."""

    num_tokens: int
    seconds: float
    flops: float
    num_bytes: float

    @property
    def tokens_per_second(self) -> float:
        """Read, or written."""
        return self.num_tokens / self.seconds

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.num_bytes / self.seconds

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.flops / self.seconds

    def share(self, machine: Machine) -> float:
        """How near it comes to the least time that the machine's limits allow."""
        return machine.seconds(self.flops, self.num_bytes) / self.seconds


@dataclass(frozen=True, kw_only=True)
class Measured:
    """parts: seconds of a written token by where they went. context: tokens in the store while tokens were written, the mean."""

    machine: Machine
    config: ModelConfig
    weight_bytes: float
    prefill: Work
    decode: Work
    context: int
    parts: dict[str, float]

    @property
    def fits_cache(self) -> bool:
        """Whether the weights stay in the processor's cache, so that writing does not wait for memory."""
        return self.machine.cache is not None and self.weight_bytes <= self.machine.cache


def measure(model: Transformer, machine: Machine, *, num_prompt: int, num_written: int) -> Measured:
    """Read a prompt of random tokens and write behind it, REPETITIONS times.

    Raises CutawayError for numbers that the model's positions do not hold, and a model that writes no tokens.
    """
    config = model.config
    _check(config, num_prompt, num_written)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(config.vocab_size, (num_prompt,), generator=generator).tolist()
    source = ids if config.has_cross else None
    size = model.token.weight.element_size()
    reading, writing = [], []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        session = Session(model, source_ids=source)
        decoder = autoregressive(
            session, [] if source else ids, Sampling(temperature=0), max_tokens=num_written + 1, eos_ids=()
        )
        ends = [time.perf_counter() for event in run(decoder) if event.is_final]
        reading.append(ends[0] - started)
        writing += [after - before for before, after in pairwise(ends)]
    context = (0 if source else num_prompt) + num_written // 2 + 1
    num_source = num_prompt if source else 0
    seconds = statistics.median(writing)
    return Measured(
        machine=machine,
        config=config,
        weight_bytes=memory_bytes(config, size),
        prefill=Work(
            num_tokens=num_prompt,
            seconds=statistics.median(reading),
            flops=_flops_of_prompt(config, num_prompt),
            num_bytes=bytes_per_pass(config, num_prompt, 0, size, size, num_source=num_source),
        ),
        decode=Work(
            num_tokens=1,
            seconds=seconds,
            flops=flops_per_token(config, context),
            num_bytes=bytes_per_generated_token(config, context, size, size, num_source=num_source),
        ),
        context=context,
        parts=_parts(model, ids, source, num_written, seconds),
    )


def _parts(
    model: Transformer, ids: list[int], source: list[int] | None, num_written: int, seconds: float
) -> dict[str, float]:
    """Passes over one token once more, watched; their shares are those of the seconds that were measured unwatched."""
    watch = Stopwatch()
    session = Session(model, source_ids=source, attend=watch.attend)
    session.extend(ids if source is None else ids[:1])
    watch.seconds = dict.fromkeys(watch.seconds, 0.0)
    passes = []
    with watch.watching(model):
        for index in range(num_written):
            started = time.perf_counter()
            session.extend([ids[index % len(ids)]])
            passes.append(time.perf_counter() - started)
    watched, passed = sum(passes), min(seconds, statistics.median(passes))
    counted = {name: passed * each / watched for name, each in watch.seconds.items()}
    return {**counted, "sampling": max(0.0, seconds - passed), "dispatch": max(0.0, passed - sum(counted.values()))}


def _flops_of_prompt(config: ModelConfig, num_prompt: int) -> float:
    """Without the head, of which the last token alone has need; every token meets those before it, half of them in the mean."""
    head = 2 * config.vocab_size * config.main.d_model if config.has_head else 0
    return num_prompt * (flops_per_token(config, max(1, num_prompt // 2)) - head) + head


def _check(config: ModelConfig, num_prompt: int, num_written: int) -> None:
    if config.decoder is None or not config.says_next:
        raise CutawayError(f"This model writes no text token by token: it was trained to predict '{config.predicts}'.")
    for name, value in (("--prompt", num_prompt), ("--tokens", num_written)):
        if value < 1:
            raise CutawayError(f"{name} is {value}. It must be at least 1.")
    total = num_prompt + num_written + 1
    if total > config.context:
        raise CutawayError(
            f"{num_prompt:,} tokens read and {num_written:,} written are {total:,} with the first, and the model has positions "
            f"for {config.context:,}. Lower --prompt or --tokens."
        )
