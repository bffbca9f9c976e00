"""A model against a peer, on the same weights, in one run. In: a name, bits, a peer. Out: `Compared`.

Each side is a process of its own (worker.py), with as many threads. First both read the same ids with the weights at 16 bits or
more: where their logits differ by more than rounding, they compute different things, and nothing is compared. Then they take
turns, every other one in reverse, so that what drifts in the machine meets both alike; a ratio is taken within each turn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from ...config import ModelConfig
from ...cost import memory_bytes
from ...errors import CutawayError
from ...runtime.budget import bytes_left
from ...runtime.roofline import Machine
from .measure import Measured, Turn, check, prompt_of, summary
from .ours import Ours
from .peers import Peer
from .precision import Precision, check_bits
from .shapes import architecture_of
from .worker import Worker

TURNS = 7
CHECKED = 24  # tokens that both read first
MOST_DIFFERENCE = 0.01  # of the logits' own deviation
ROOM = 1.1  # of what is written, on the disk


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Values of one quantity, a turn each."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """These values."""
        return cls(values=tuple(values))

    def over(self, other: Spread) -> Spread:
        """The ratio within each turn."""
        return Spread.of([one / another for one, another in zip(self.values, other.values, strict=True)])

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest one."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The largest one."""
        return max(self.values)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Tokens a second of both sides, turn by turn."""

    ours: Spread
    peer: Spread

    @property
    def ratio(self) -> Spread:
        """Ours over the peer's, within each turn."""
        return self.ours.over(self.peer)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Both sides in one precision. kind: of the peer's numbers. prefill, decode: what was read and written; None where void.

    ours: what it moved and did. difference: of the logits before quantising, as a share of their deviation;
    void: why nothing was compared, or None. idle: CPU time that a side took while the other ran, of that time, the larger.
    read: bytes a second that the machine read beside each of our turns, the mean of before and after it.
    """

    peer: str
    kind: str
    bits: int
    difference: float
    void: str | None = None
    ours: Measured | None = None
    prefill: Rates | None = None
    decode: Rates | None = None
    read: Spread | None = None
    idle: float = 0.0

    @property
    def read_share(self) -> Spread:
        """Bytes a second that ours moved while it wrote, of what the machine read beside, turn by turn; not of a void one."""
        assert self.ours is not None, "it was compared"
        assert self.decode is not None, "it was compared"
        assert self.read is not None, "it was compared"
        size = self.ours.decode.num_bytes
        return Spread.of([size * rate for rate in self.decode.ours.values]).over(self.read)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: tokens read and written in a turn, and how many turns; threads of each side."""

    num_prompt: int = 512
    num_written: int = 64
    turns: int = TURNS
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Match:
    """A model, by name, and its peer, with a folder for what the peer reads.

    open_side: makes a side in a process of its own.
    """

    name: str
    config: ModelConfig
    peer: Peer
    plan: Plan
    folder: Path
    open_side: Callable[..., Worker] = Worker

    def ours(self) -> Worker:
        """Our side."""
        return self.open_side(Ours, self.name, self.plan.threads)

    def theirs(self, ours: Worker, bits: int) -> Worker:
        """The peer's side, on our weights in so many bits; ours is not quantised yet."""
        peer, plan, kind = self.peer, self.plan, self.peer.kind(bits)
        path = self.folder / (f"{kind}.gguf" if peer.is_file else kind)
        if not path.exists():
            ours.ask("write_gguf" if peer.is_file else "write_checkpoint", str(path), kind)
        room = max(plan.num_prompt + plan.num_written + 1, CHECKED)
        return self.open_side(peer.make, str(path), plan.threads, room, kind)


def compare(name: str, all_bits: Sequence[int], peer: Peer, machine: Machine, plan: Plan) -> Iterator[Compared]:
    """A comparison for each number of bits, one after another.

    Raises CutawayError, before anything runs, for what cannot be compared, and where memory or disk do not suffice.
    """
    config = architecture_of(name)
    check_comparable(config, all_bits, peer, plan)
    with tempfile.TemporaryDirectory(prefix="cutaway-bench-") as folder:
        check_room(config, {peer.checked, *all_bits}, Path(folder))
        match = Match(name=name, config=config, peer=peer, plan=plan, folder=Path(folder))
        difference = difference_of(match)
        for bits in all_bits:
            yield void_of(match, bits, difference) or take_turns(match, bits, machine, difference)


def difference_of(match: Match) -> float:
    """How far the logits of both lie apart, by the root of the mean square, as a share of the deviation of ours."""
    ids = prompt_of(match.config, min(CHECKED, match.config.context))
    with match.ours() as ours, match.theirs(ours, match.peer.checked) as theirs:
        wanted, found = (torch.tensor(side.ask("logits", ids)) for side in (ours, theirs))
    return float((found - wanted).square().mean().sqrt() / wanted.std())


def void_of(match: Match, bits: int, difference: float) -> Compared | None:
    """What is said in place of a comparison where both do not compute the same; None where they do."""
    if difference <= MOST_DIFFERENCE:
        return None
    why = (
        f"{match.peer.name} computes something else with these weights: the logits of {CHECKED} tokens differ by "
        f"{difference:.2g} of their deviation, where rounding explains {MOST_DIFFERENCE}. Nothing was compared."
    )
    return Compared(peer=match.peer.name, kind=match.peer.kind(bits), bits=bits, difference=difference, void=why)


def take_turns(match: Match, bits: int, machine: Machine, difference: float) -> Compared:
    """Both in turns, after one each to warm up."""
    plan, ids = match.plan, prompt_of(match.config, match.plan.num_prompt)
    with match.ours() as ours, match.theirs(ours, bits) as theirs:
        precision: Precision = ours.ask("quantise", bits)
        kept: float = ours.ask("kept")
        sides = (ours, theirs)
        for side in sides:
            side.ask("turn", ids, min(2, plan.num_written))
            side.forget_idle()
        turns: dict[Worker, list[Turn]] = {side: [] for side in sides}
        reads: list[float] = []
        for index in range(plan.turns):
            for side in sides if index % 2 == 0 else sides[::-1]:
                before = ours.ask("read") if side is ours else 0.0
                turns[side].append(side.ask("turn", ids, plan.num_written))
                reads += [(before + ours.ask("read")) / 2] if side is ours else []
        idle = max(side.idle for side in sides)
    read = [Spread.of([plan.num_prompt / turn.prefill for turn in turns[side]]) for side in sides]
    written = [Spread.of([1 / turn.token for turn in turns[side]]) for side in sides]
    return Compared(
        peer=match.peer.name,
        kind=match.peer.kind(bits),
        bits=bits,
        difference=difference,
        ours=summary(match.config, precision, machine, turns[ours], plan.num_prompt, kept),
        prefill=Rates(ours=read[0], peer=read[1]),
        decode=Rates(ours=written[0], peer=written[1]),
        read=Spread.of(reads),
        idle=idle,
    )


def check_comparable(config: ModelConfig, all_bits: Sequence[int], peer: Peer, plan: Plan) -> None:
    """Raises CutawayError for models and bits that the two cannot be compared at."""
    check(config, plan.num_prompt, plan.num_written)
    if config.has_cross:
        raise CutawayError("A model of two stacks is not compared: --vs takes those with a decoder alone.")
    for bits in all_bits:
        check_bits(bits)
        peer.kind(bits)


def check_room(config: ModelConfig, all_bits: set[int], folder: Path) -> None:
    """Raises CutawayError where memory or disk do not suffice: for ours in full and quantised, for the peer, for its files."""
    written = sum(memory_bytes(config, bits / 8) for bits in all_bits)
    held = memory_bytes(config) + 2 * memory_bytes(config, max(all_bits) / 8)
    for what, needed, available in (
        ("memory", held, bytes_left()),
        (f"the disk of {folder.parent}", ROOM * written, shutil.disk_usage(folder).free),
    ):
        if available is not None and needed > available:
            raise CutawayError(
                f"The comparison takes {needed / 1e9:,.1f} GB of {what}, and {available / 1e9:,.1f} GB are available. "
                "Take a smaller shape or fewer --bits, or make room."
            )
