"""Every check and figure of a GPU. In: a GPU. Out: one table: `python benchmarks/gpu.py`, made to end within eight minutes.

First what must hold: a small model in fp32 writes, by captured steps, the tokens of the readable pass, and the large one in bf16
gives its logits up to rounding. Then the shape of an 8 B Llama, random weights made on the GPU: one token at a time, whose bytes
a second are compared with a copy of the same memory; 64 texts at once; and transformers, on the same shape with weights of its
own, with its static cache and compiled steps, in turns. Exit code 0: all checks passed, all goals met; 1: not so; 2: no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import torch

import report
from cutaway.errors import CutawayError
from cutaway.runtime.gpu import check_device_memory, needed_bytes
from figure import BenchmarkError, Row, Sample, alternate, at_least, reaches, sample, within
from sides.gpu_ours import Ours, copy_bandwidth, equal_tokens
from sides.gpu_peer import Peer

LARGE, SMALL = (
    "32,4096,32,8,14336,128256",
    "4,256,8,2,512,512",
)  # layers, width, heads, kv heads, feed-forward, vocabulary
LEAST_SHARE, LEAST_TIMES = 0.70, 20.0  # of the copy's bytes a second; of one text's tokens a second
MOST_DIFFERENCE = 0.05  # of the logits' deviation, in bf16
LEAST_VARIED = 5  # different tokens, or their equality says nothing
BATCH, PROMPT, WRITTEN, CAPACITY = 64, 32, 128, 512
CHECKED = 64  # tokens
MOST_SECONDS, RESERVED = 480.0, 150.0  # of all; and for the peer, which compiles first
RATE, BYTES, SHARE = "{:,.1f} tokens/s", "{:,.0f} GB/s", "{:.0%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where and how much. backend: of torch.compile, None for layers as they are."""

    device: torch.device
    shape: str
    backend: str | None
    batch: int
    repetitions: int
    num_written: int
    copied: int
    has_peer: bool


def main(words: Sequence[str] | None = None) -> int:
    """Check, measure, print."""
    settings, began = parse(words), time.perf_counter()
    figures: dict[str, list[Row]] = {}
    try:
        figures["checks"] = checks(settings)
        figures["speed"] = speed(settings, lambda: MOST_SECONDS - (time.perf_counter() - began))
    except (BenchmarkError, CutawayError) as error:
        print(f"Not measured: {error}", file=sys.stderr)
    if figures:
        report.show(figures, {**facts(settings), "seconds in all": f"{time.perf_counter() - began:.0f}"})
    is_all_met = all(row.is_met is not False for figure in figures.values() for row in figure)
    return 0 if "speed" in figures and is_all_met else 1


def parse(words: Sequence[str] | None) -> Settings:
    """The options of the command line; ends the program, with code 2, where there is nothing to run on."""
    parser = argparse.ArgumentParser(description="Check and measure Cutaway on a GPU.")
    parser.add_argument(
        "--device", default="cuda", help="cuda (default), cuda:1, or cpu with --quick: does it all run?"
    )
    parser.add_argument("--quick", action="store_true", help="a small shape, once: the numbers mean nothing")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    asked = parser.parse_args(words)
    device, is_quick = torch.device(asked.device), asked.quick
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: torch sees none. --device cpu --quick tries whether all of it runs")
    if device.type != "cuda" and not is_quick:
        parser.error("an 8 B model on a processor is no figure of a GPU: add --quick, or take --device cuda")
    return Settings(
        device=device,
        shape=SMALL if is_quick else LARGE,
        backend="inductor" if device.type == "cuda" else None,
        batch=4 if is_quick else BATCH,
        repetitions=1 if is_quick else 5,
        num_written=8 if is_quick else WRITTEN,
        copied=2**22 if is_quick else 2**31,
        has_peer=not asked.no_peer,
    )


def checks(settings: Settings) -> list[Row]:
    """Tokens that must be equal. Raises BenchmarkError where they are not: no figure would mean anything."""
    equal, varied = equal_tokens(SMALL, settings.device, settings.backend, CHECKED)
    if varied < LEAST_VARIED:
        raise BenchmarkError(f"The small model writes {varied} different tokens: too few to prove anything.")
    if equal < 1:
        raise BenchmarkError(
            f"Captured steps and the readable pass have {equal:.0%} of {CHECKED} tokens in common, not all."
        )
    name = f"{CHECKED} greedy tokens of a small model in fp32, by captured steps: those of the readable pass"
    return [reaches(name, sample([equal], SHARE), 1.0)]


def speed(settings: Settings, seconds_left: Callable[[], float]) -> list[Row]:
    """One text, its share of a copy, many texts, and the peer where there is room and time for it."""
    device, written = settings.device, settings.num_written
    ours = Ours(settings.shape, device, torch.bfloat16, settings.backend, batch=settings.batch, capacity=CAPACITY)
    if ours.difference > MOST_DIFFERENCE:
        raise BenchmarkError(
            f"The logits of captured steps in bf16 differ by {ours.difference:.2g} of their deviation, "
            f"where rounding explains {MOST_DIFFERENCE}."
        )
    copy = sample([copy_bandwidth(device, settings.copied) / 1e9 for _ in range(3)], BYTES)
    one, theirs, why = in_turns(ours, settings, seconds_left)
    moved = ours.bytes_per_token(PROMPT + written // 2 + 1) / 1e9
    ours.many(PROMPT, written)
    many = sample([ours.many(PROMPT, written) for _ in range(settings.repetitions)], RATE)
    name = f"{ours.num_parameters / 1e9:.1f} B parameters in bf16"
    alone = f"{name}, one text"
    shares = sample([moved * rate / max(copy.values) for rate in one.values], SHARE)
    return [
        within(
            f"{name}: logits of captured steps from the readable, of their deviation",
            sample([ours.difference], "{:.1e}"),
            MOST_DIFFERENCE,
        ),
        Row(name=f"{alone} ({why})", ours=one)
        if theirs is None
        else at_least(f"{alone}; peer: transformers", one, theirs, None),
        Row(name="… a copy of memory, read and written", ours=copy),
        reaches("… its bytes a second, of those of the copy", shares, LEAST_SHARE),
        at_least(f"{name}, {settings.batch} texts at once; peer: one text", many, one, LEAST_TIMES),
    ]


def in_turns(ours: Ours, settings: Settings, seconds_left: Callable[[], float]) -> tuple[Sample, Sample | None, str]:
    """Tokens a second of one text, ours and the peer's, in turns after some to compile; or why there is no peer."""
    sides: dict[str, Callable[[int, int], float]] = {"ours": ours.one}
    try:
        sides["peer"] = peer_of(ours, settings, seconds_left).one
        why = ""
    except (BenchmarkError, CutawayError) as error:
        why = f"no peer: {error}"
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for measure in sides.values():
        for _ in range(2):
            measure(PROMPT, settings.num_written)

    def turn(name: str) -> None:
        rates[name].append(sides[name](PROMPT, settings.num_written))

    alternate(settings.repetitions, *(partial(turn, name) for name in sides))
    found = {name: sample(values, RATE) for name, values in rates.items()}
    return found["ours"], found.get("peer"), why


def peer_of(ours: Ours, settings: Settings, seconds_left: Callable[[], float]) -> Peer:
    """The peer. Raises BenchmarkError or CutawayError where it is not wanted, not installed, too late or too large."""
    if not settings.has_peer:
        raise BenchmarkError("--no-peer")
    if find_spec("transformers") is None:
        raise BenchmarkError("transformers is not installed; pip install transformers")
    if seconds_left() < RESERVED:
        raise BenchmarkError(f"{seconds_left():.0f} seconds were left")
    check_device_memory(needed_bytes(ours.config, capacity=CAPACITY), settings.device)
    return Peer(ours.config, settings.device, torch.bfloat16)


def facts(settings: Settings) -> dict[str, str]:
    """On what was measured."""
    is_gpu = settings.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(settings.device) if is_gpu else "a processor: no figures of a GPU",
        "torch": version("torch"),
        "transformers": version("transformers") if find_spec("transformers") is not None else "none",
    }


if __name__ == "__main__":
    sys.exit(main())
