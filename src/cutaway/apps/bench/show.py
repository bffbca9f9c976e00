"""What was measured, in a terminal and as JSON. In: `Measured`. Out: tables; a mapping; the roofline."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from ...cost import num_parameters
from ...lens.numerals import chance, count
from ..inspect.characters import QUIET, bar, make_table, put, say, stage
from .measure import Measured, Work
from .plot import Point, Roofline

GIGA = 1e9
BAR = 24
PARTS = {
    "weights": "every matrix, read once",
    "attention": "keys and values, read and written",
    "sampling": "the token is chosen",
    "dispatch": "the rest: norms, activations, calls",
}


def show(name: str, found: Measured, console: Console) -> None:
    """Print the machine, both kinds of pass, and where a token's time goes."""
    machine = found.machine
    stage(
        console,
        name,
        f"{count(num_parameters(found.config), 'parameter')}, {found.weight_bytes / 1e6:,.1f} MB. This machine reads "
        f"{machine.read / GIGA:,.1f} GB/s and does {machine.peak / GIGA:,.0f} GFLOP/s, on {count(machine.threads, 'thread')}.",
    )
    table = make_table("<", ">tokens/s", ">GB/s", ">GFLOP/s", ">of the limit", "<which is")
    for label, work in rows(found).items():
        table.add_row(
            label,
            Text(f"{work.tokens_per_second:,.1f}", "bold"),
            f"{work.bandwidth / GIGA:,.1f}",
            f"{work.rate / GIGA:,.1f}",
            chance(work.share(machine)),
            limit_of(found, work),
        )
    put(console, table)
    if found.fits_cache and machine.cache is not None:
        say(
            console,
            f"The weights fit into the processor's cache ({machine.cache / 1e6:,.0f} MB), so that writing does not "
            "wait for memory: a share of more than 100 % is no error.",
            QUIET,
        )
    console.print()
    stage(console, f"Where the {1000 * found.decode.seconds:,.2f} ms of a written token go")
    parts = make_table("<", "<", ">ms", "<")
    for part, seconds in found.parts.items():
        share = seconds / found.decode.seconds
        parts.add_row(part, bar(share, BAR), f"{1000 * seconds:,.2f}", Text(PARTS[part], QUIET))
    put(console, parts)


def rows(found: Measured) -> dict[str, Work]:
    """Both kinds of pass by name."""
    return {
        f"read {found.prefill.num_tokens:,} tokens": found.prefill,
        f"write, {found.context:,} before": found.decode,
    }


def limit_of(found: Measured, work: Work) -> str:
    """Which limit of the machine is met first."""
    return "arithmetic" if work.flops / work.num_bytes > found.machine.ridge else "memory"


def as_dict(name: str, found: Measured) -> dict[str, Any]:
    """Everything, for JSON. Rates in units of 10⁹."""
    machine = found.machine
    return {
        "model": name,
        "parameters": num_parameters(found.config),
        "weight_bytes": found.weight_bytes,
        "fits_cache": found.fits_cache,
        "machine": {"cores": machine.cores, "threads": machine.threads, "cache_bytes": machine.cache},
        "read_gbps": machine.read / GIGA,
        "peak_gflops": machine.peak / GIGA,
        "prefill": {"tokens": found.prefill.num_tokens, **_work(found, found.prefill)},
        "decode": {"context": found.context, **_work(found, found.decode), "parts": found.parts},
    }


def roofline(name: str, found: Measured) -> Roofline:
    """The picture."""
    points = (
        Point(name=label, intensity=work.flops / work.num_bytes, rate=work.rate, share=work.share(found.machine))
        for label, work in rows(found).items()
    )
    return Roofline(model=name, read=found.machine.read, peak=found.machine.peak, points=tuple(points))


def _work(found: Measured, work: Work) -> dict[str, Any]:
    return {
        "seconds": work.seconds,
        "tokens_per_second": work.tokens_per_second,
        "gbps": work.bandwidth / GIGA,
        "gflops": work.rate / GIGA,
        "share": work.share(found.machine),
        "limit": limit_of(found, work),
    }
