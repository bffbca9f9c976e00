"""What was measured, in a terminal and as JSON. In: `Measured`, a precision each. Out: tables; a mapping; the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ...cost import num_parameters
from ...lens.numerals import chance, count
from ...runtime.native.loader import library
from ...runtime.roofline import Machine
from ..inspect.characters import QUIET, bar, make_table, put, say, stage
from .measure import Measured, Work
from .plot import Point, Roofline
from .start import Started

GIGA = 1e9
BAR = 24
PARTS = {
    "weights": "every matrix, read once",
    "cache": "keys and values, written",
    "attention": "keys and values, read and weighed",
    "norms": "every vector, rescaled",
    "sampling": "the token is chosen",
    "dispatch": "the rest: activations, rotations, calls",
}


def show(name: str, found: Sequence[Measured], console: Console) -> None:
    """Print the machine, both kinds of pass in each precision, and where a token's time goes. found: not empty."""
    stage(
        console,
        name,
        f"{count(num_parameters(found[0].config), 'parameter')}; "
        + "; ".join(f"{each.precision.held / 1e6:,.1f} MB in {each.precision.bits} bits" for each in found)
        + ".",
        *machine_says(found[0].machine),
    )
    table = make_table("<", ">tokens/s", ">GB/s", ">GFLOP/s", ">of the limit", "<which is")
    for each in found:
        for label, work in rows(each).items():
            table.add_row(
                label,
                Text(f"{work.tokens_per_second:,.1f}", "bold"),
                f"{work.bandwidth / GIGA:,.1f}",
                f"{work.rate / GIGA:,.1f}",
                chance(work.share(each.machine)),
                work.limit(each.machine),
            )
    put(console, table)
    say(console, cache_says(found), QUIET)
    for each in found:
        _show_parts(each, console)


def machine_says(machine: Machine) -> list[str]:
    """What this machine can do, in sentences."""
    narrow = "".join(f", {rate / GIGA:,.0f} in {bits} bits" for bits, rate in machine.narrow.items())
    return [
        f"This machine reads {machine.read / GIGA:,.1f} GB/s and does {machine.peak / GIGA:,.0f} GFLOP/s in 32 bits{narrow}, "
        f"on {count(machine.threads, 'thread')}.",
        f"Its vector instructions: {', '.join(machine.instructions)}." if machine.instructions else "",
        f"Native kernels do not run here: {found}." if isinstance(found := library(), str) else "",
    ]


def cache_says(found: Sequence[Measured]) -> str:
    """A sentence where weights fit into the cache, else nothing."""
    bits, cache = [str(each.precision.bits) for each in found if each.fits_cache], found[0].machine.cache
    if not bits or cache is None:
        return ""
    return (
        f"In {', '.join(bits)} bits, all that a token reads fits into the processor's cache ({cache / 1e6:,.0f} MB), so that "
        "writing does not wait for memory: a share of more than 100 % is no error."
    )


def show_start(found: Started, console: Console) -> None:
    """Print how long the first token takes."""
    stages = ", ".join(f"{name.replace('_', ' ')} {seconds:.2f}" for name, seconds in found.stages.items())
    stage(
        console,
        f"Start in {found.bits} bits, warm: {found.median:.2f} s to the first token",
        f"Of these, in seconds: {stages}. The median of {count(len(found.seconds), 'start')}, torch imported before.",
    )


def _show_parts(found: Measured, console: Console) -> None:
    console.print()
    bits = found.precision.bits
    stage(console, f"Where the {1000 * found.decode.seconds:,.2f} ms of a token written in {bits} bits go")
    parts = make_table("<", "<", ">ms", "<")
    for part, seconds in found.parts.items():
        share = seconds / found.decode.seconds
        parts.add_row(part, bar(share, BAR), f"{1000 * seconds:,.2f}", Text(PARTS[part], QUIET))
    put(console, parts)


def rows(found: Measured) -> dict[str, Work]:
    """Both kinds of pass by name."""
    bits = found.precision.bits
    return {
        f"{bits} bits: read {found.prefill.num_tokens:,} tokens": found.prefill,
        f"{bits} bits: write, {found.context:,} before": found.decode,
    }


def as_dict(name: str, found: Sequence[Measured]) -> dict[str, Any]:
    """Everything, for JSON: the first precision by itself, and all of them in `precisions`. Rates in units of 10⁹."""
    precisions = [_measured(each) for each in found]
    return {
        "model": name,
        "parameters": num_parameters(found[0].config),
        **machine_dict(found[0].machine, found[0].precision.bits),
        **precisions[0],
        "precisions": precisions,
    }


def machine_dict(machine: Machine, bits: int = 32) -> dict[str, Any]:
    """The machine, for JSON: what it is, and its limits for numbers of so many bits."""
    return {
        "machine": {
            "cores": machine.cores,
            "threads": machine.threads,
            "cache_bytes": machine.cache,
            "instructions": list(machine.instructions),
            "peak_gflops_by_bits": {32: machine.peak / GIGA, **{b: rate / GIGA for b, rate in machine.narrow.items()}},
        },
        "read_gbps": machine.read / GIGA,
        "peak_gflops": machine.peak_of(bits) / GIGA,
    }


def start_dict(found: Started) -> dict[str, Any]:
    """A start, for JSON."""
    return {
        "model": found.name,
        "bits": found.bits,
        "seconds": found.median,
        "stages": found.stages,
        "all": list(found.seconds),
    }


def roofline(name: str, found: Sequence[Measured]) -> Roofline:
    """The picture: two points for each precision, under the highest limit of them."""
    machine = found[0].machine
    points = (
        Point(
            name=f"{'write' if work is each.decode else 'read'}, {each.precision.bits} bits",
            intensity=work.flops / work.num_bytes,
            rate=work.rate,
            share=work.share(each.machine),
            bits=work.bits,
        )
        for each in found
        for work in (each.prefill, each.decode)
    )
    bits = {each.precision.bits for each in found}
    return Roofline(
        model=name, read=machine.read, peaks={b: machine.peak_of(b) for b in sorted(bits)}, points=tuple(points)
    )


def work_dict(found: Measured, work: Work) -> dict[str, Any]:
    """One kind of pass, for JSON."""
    return {
        "seconds": work.seconds,
        "tokens_per_second": work.tokens_per_second,
        "gbps": work.bandwidth / GIGA,
        "gflops": work.rate / GIGA,
        "share": work.share(found.machine),
        "limit": work.limit(found.machine),
    }


def _measured(found: Measured) -> dict[str, Any]:
    precision = found.precision
    return {
        "bits": precision.bits,
        "weight_bytes": precision.held,
        "bytes_per_weight": precision.size,
        "fits_cache": found.fits_cache,
        "prefill": {"tokens": found.prefill.num_tokens, **work_dict(found, found.prefill)},
        "decode": {"context": found.context, **work_dict(found, found.decode), "parts": found.parts},
    }
