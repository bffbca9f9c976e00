"""Single tensors of a pass. In: a model and a prompt. Out: the table of its sites, or the values of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ...lens import Site, Trace
from ...lm import LM
from .characters import QUIET
from .wording import number

MOST_VALUES = 4096


def table(lm: LM, prompt: str) -> list[dict[str, Any]]:
    """Every site of a pass over the prompt: name, axes, shape, type, and bytes in the model's own precision."""
    return [
        {
            "name": site.name,
            "axes": list(site.axes),
            "shape": list(site.shape),
            "dtype": site.dtype,
            "bytes": site.num_bytes,
        }
        for site in lm.sites(prompt)
    ]


def show_table(found: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the sites, one a line."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for name in ("site", "axes", "shape"):
        rows.add_column(name, overflow="fold")
    rows.add_column("bytes", justify="right", no_wrap=True)
    for site in found:
        shape = " × ".join(map(str, site["shape"]))
        rows.add_row(site["name"], " ".join(site["axes"]), shape, f"{site['bytes']:,}")
    console.print(rows)
    total = sum(site["bytes"] for site in found)
    console.print(Text(f"{len(found):,} sites, {total:,} bytes. See one with --site NAME.", QUIET))


def show_values(sites: Sequence[Site], trace: Trace, console: Console) -> None:
    """Print each recorded tensor: its axes and shape, a summary, then its values row by row, at most 4,096 of them."""
    axes = {site.name: site.axes for site in sites}
    for name, tensor in trace.items():
        shape = ", ".join(f"{axis} {size}" for axis, size in zip(axes[name], tensor.shape, strict=True))
        console.print(Text.assemble((name, "bold"), f"  [{shape}]"))
        console.print(Padding(Text(_summary(tensor)), (0, 0, 0, 2), expand=False))
        _print_rows(tensor, trace.texts_of(name), axes[name], console)


def _summary(tensor: Tensor) -> str:
    values = tensor.double().flatten()
    seen = values[values.abs() < 1e30]
    hidden = f", {len(values) - len(seen):,} hidden" if len(seen) < len(values) else ""
    parts = {
        "smallest": seen.min(),
        "largest": seen.max(),
        "mean": seen.mean(),
        "standard deviation": seen.std(correction=0),
    }
    return ", ".join(f"{name} {number(float(value), 4)}" for name, value in parts.items()) + hidden


def _print_rows(tensor: Tensor, tokens: Sequence[str], axes: Sequence[str], console: Console) -> None:
    flat = tensor.flatten(0, -2) if tensor.ndim > 1 else tensor.unsqueeze(0)
    num_rows = max(1, min(len(flat), MOST_VALUES // flat.shape[-1]))
    for row in range(num_rows):
        place = _place(row, tensor.shape[:-1])
        spoken = f"  {tokens[place[-1]]}" if axes[-2] in ("position", "query") and tokens else ""
        console.print(Text(f"  [{', '.join(map(str, place))}]{spoken}", QUIET))
        values = "  ".join(_value(value) for value in flat[row].double().tolist())
        console.print(Padding(Text(values), (0, 0, 0, 4), expand=False))
    if num_rows < len(flat):
        console.print(Text(f"  {len(flat) - num_rows:,} more rows. All of them: --json", QUIET))


def _value(value: float) -> str:
    return "hidden".rjust(8) if abs(value) >= 1e30 else number(value, 4).rjust(8)


def _place(row: int, shape: Sequence[int]) -> list[int]:
    """Row number -> index in the leading axes."""
    place = []
    for size in reversed(shape):
        row, index = divmod(row, size)
        place.append(index)
    return place[::-1]
