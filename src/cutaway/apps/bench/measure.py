"""How fast a model reads and writes. In: a model and sizes. Out: seconds of a prompt and of a token, and where they went.

A prompt of n tokens is read in one pass, which is bound by arithmetic; a token is written by a pass over one token, which reads
every weight and every key and value once, and is bound by memory (Pope et al. 2022 §2.1).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from ...config import ModelConfig
from ...cost import bytes_per_generated_token, bytes_per_pass, cache_bytes, flops_per_token
from ...decode import Sampling, Session, autoregressive, choose, run
from ...errors import CutawayError
from ...model import Transformer
from ...runtime.roofline import Machine
from .precision import Precision, in_bits
from .replayed import seconds_of_parts
from .stopwatch import Stopwatch

REPETITIONS = 5
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One prompt read and some tokens written.

    prefill: seconds to the first token. tokens: of each one after it. ids: all that were written.
    """

    prefill: float
    tokens: tuple[float, ...]
    ids: tuple[int, ...]

    @property
    def token(self) -> float:
        """Seconds of a token, the mean."""
        return sum(self.tokens) / len(self.tokens)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of pass. num_tokens: of it; seconds: it took, the median; flops, num_bytes: what it does and moves at least.

    bits: of a weight.
    """

    num_tokens: int
    seconds: float
    flops: float
    num_bytes: float
    bits: int = 32

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

    def limit(self, machine: Machine) -> str:
        """Which limit of the machine is met first."""
        return "arithmetic" if self.flops / self.num_bytes > machine.ridge(self.bits) else "memory"

    def share(self, machine: Machine) -> float:
        """How near it comes to the least time that the machine's limits allow."""
        return machine.seconds(self.flops, self.num_bytes, self.bits) / self.seconds


@dataclass(frozen=True, kw_only=True)
class Measured:
    """parts: seconds of a written token by where they went, empty where that was not looked at. context: tokens in the store
    while tokens were written, the mean.
    """

    machine: Machine
    config: ModelConfig
    precision: Precision
    prefill: Work
    decode: Work
    context: int
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def fits_cache(self) -> bool:
        """Whether all that a token reads stays in the processor's cache, so that writing does not wait for memory."""
        return fits_cache(self.machine.cache, self.decode.num_bytes)


def measure(
    model: Transformer,
    machine: Machine,
    *,
    num_prompt: int,
    num_written: int,
    bits: int = 32,
    repetitions: int = REPETITIONS,
) -> Measured:
    """Read a prompt of random tokens and write behind it, some times over, with the weights in these bits: in place.

    Raises CutawayError for numbers that the model's positions do not hold, and a model that writes no tokens.
    """
    check(model.config, num_prompt, num_written)
    precision = in_bits(model, bits)
    ids = prompt_of(model.config, num_prompt)
    turns = [take_turn(model, ids, num_written) for _ in range(repetitions)]
    kept = kept_size(model)
    found = summary(model.config, precision, machine, turns, num_prompt, kept)
    parts = parts_of(model, ids, num_written, found.decode.seconds)
    return Measured(**{**vars(found), "parts": parts})


def take_turn(model: Transformer, ids: Sequence[int], num_written: int) -> Turn:
    """Read ids in a session of their own (of two stacks: as the source) and write greedily."""
    has_source = model.config.has_cross
    started = time.perf_counter()
    session = Session(model, source_ids=ids if has_source else None)
    decoder = autoregressive(session, [] if has_source else ids, GREEDY, max_tokens=num_written + 1, eos_ids=())
    ends, written = [started], []
    for event in run(decoder):
        if event.is_final and event.new is not None:
            ends.append(time.perf_counter())
            written.append(event.new)
    prefill, *tokens = [after - before for before, after in pairwise(ends)]
    return Turn(prefill=prefill, tokens=tuple(tokens), ids=tuple(written))


def summary(
    config: ModelConfig,
    precision: Precision,
    machine: Machine,
    turns: Sequence[Turn],
    num_prompt: int,
    kept: float,
) -> Measured:
    """What turns say: medians, and what a pass does and moves. kept: bytes of a number in the store."""
    has_source, bits, size = config.has_cross, precision.bits, precision.size
    context = (0 if has_source else num_prompt) + len(turns[0].tokens) // 2 + 1
    num_source = num_prompt if has_source else 0
    return Measured(
        machine=machine,
        config=config,
        precision=precision,
        prefill=Work(
            num_tokens=num_prompt,
            seconds=statistics.median(turn.prefill for turn in turns),
            flops=_flops_of_prompt(config, num_prompt),
            num_bytes=bytes_per_pass(config, num_prompt, 0, size, kept, num_source=num_source),
            bits=bits,
        ),
        decode=Work(
            num_tokens=1,
            seconds=statistics.median(seconds for turn in turns for seconds in turn.tokens),
            flops=flops_per_token(config, context),
            num_bytes=bytes_per_generated_token(config, context, size, kept, num_source=num_source),
            bits=bits,
        ),
        context=context,
    )


def prompt_of(config: ModelConfig, num_prompt: int) -> list[int]:
    """Random ids, always the same."""
    generator = torch.Generator().manual_seed(1)
    found: list[int] = torch.randint(config.vocab_size, (num_prompt,), generator=generator).tolist()
    return found


def kept_size(model: Transformer) -> float:
    """Bytes of a number in a session's store, as its store says."""
    source = [0] if model.config.has_cross else None
    session = Session(model, source_ids=source)
    session.extend([0])
    return session.store.num_bytes / cache_bytes(model.config, session.length, 1.0)


def fits_cache(cache: int | None, num_bytes: float) -> bool:
    """Whether so many bytes stay in the processor's largest cache; no, where the system does not tell its size."""
    return cache is not None and num_bytes <= cache


def check(config: ModelConfig, num_prompt: int, num_written: int) -> None:
    """Raises CutawayError for a model that writes no text token by token, and for numbers that its positions do not hold."""
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


def parts_of(model: Transformer, ids: Sequence[int], num_written: int, seconds: float) -> dict[str, float]:
    """Seconds of a written token by what they were taken for. seconds: of one, as it was measured.

    Of a model with a recorded plan by leaving operations out of its replay (replayed.py), else by timing every leaf of passes
    that run once more. What is over is dispatch; parts that alone would take longer than the whole are scaled to it.
    """
    source = list(ids) if model.config.has_cross else None
    session = Session(model, source_ids=source)
    session.extend(ids if source is None else ids[:1])
    logits = session.extend(ids[:1])
    parts = {"sampling": _seconds_to_choose(logits[-1], session)}
    parts = {**(seconds_of_parts(session, ids[0]) or _leaf_by_leaf(model, ids, source, num_written)), **parts}
    scale = min(1.0, seconds / sum(parts.values()))
    parts = {name: scale * each for name, each in parts.items()}
    return {**parts, "dispatch": max(0.0, seconds - sum(parts.values()))}


def _leaf_by_leaf(
    model: Transformer, ids: Sequence[int], source: list[int] | None, num_written: int
) -> dict[str, float]:
    usual = Session(model, source_ids=source).attend
    assert usual is not None, "sessions have a kernel unless they are told otherwise"
    watch = Stopwatch(usual)
    session = Session(model, source_ids=source, attend=watch.attend)
    session.extend(ids if source is None else ids[:1])
    counted: list[dict[str, float]] = []
    with watch.watching(model):
        for index in range(num_written):
            watch.forget()
            session.extend([ids[index % len(ids)]])
            counted.append(watch.seconds)
    return {name: statistics.median(each[name] for each in counted) for name in counted[0]}


def _seconds_to_choose(row: Tensor, session: Session) -> float:
    found = []
    for _ in range(20):
        started = time.perf_counter()
        choose(row, session.ids, GREEDY, 0, session.length)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _flops_of_prompt(config: ModelConfig, num_prompt: int) -> float:
    """Without the head, of which the last token alone has need; every token meets those before it, half of them in the mean."""
    head = 2 * config.vocab_size * config.main.d_model if config.has_head else 0
    return num_prompt * (flops_per_token(config, max(1, num_prompt // 2)) - head) + head
