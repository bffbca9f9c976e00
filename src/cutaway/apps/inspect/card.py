"""A model on a card. In: its config, and what its files say. Out: both, and parameters, memory and work from `cost` alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ... import cost
from ...config import ModelConfig
from ...weights.provenance import Provenance
from .characters import LEARNED, QUIET

BYTES_PER_WEIGHT: Final = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0}


def figures(config: ModelConfig, provenance: Provenance) -> dict[str, Any]:
    """Every figure of the card, for JSON. Work and bytes per token are given for a full context."""
    parts = cost.parameters(config)
    return {
        **asdict(provenance),
        "config": config.to_dict(),
        "parameters": {**asdict(parts), "total": parts.total},
        "memory_bytes": {name: cost.memory_bytes(config, size) for name, size in BYTES_PER_WEIGHT.items()},
        "cache_bytes_per_token": {name: cost.cache_bytes(config, 1, size) for name, size in _cached(config).items()},
        "context": config.context,
        "flops_per_token": cost.flops_per_token(config, config.context),
        "bytes_per_generated_token": {
            name: cost.bytes_per_generated_token(config, config.context, size, max(size, 2.0))
            for name, size in BYTES_PER_WEIGHT.items()
        },
    }


def show(config: ModelConfig, provenance: Provenance, name: str, console: Console) -> None:
    """Print the card."""
    found = figures(config, provenance)
    console.print(Text.assemble((name, "bold"), f"  {found['parameters']['total']:,} parameters"))
    _part(console, "Checkpoint", _said(provenance))
    _part(console, "Knobs", [(knob, value, "") for knob, value in _knobs(found["config"])])
    _part(console, "Parameters", _parameters(found["parameters"], config.is_tied))
    memory = [(kind, _bytes(size), "") for kind, size in found["memory_bytes"].items()]
    _part(console, "Memory of the weights", memory)
    cache = [(kind, f"{size:,.0f} B", "") for kind, size in found["cache_bytes_per_token"].items()]
    _part(console, "Keys and values that a session keeps for each token", cache)
    moved = [
        (f"bytes moved, {kind}", _bytes(size), "keys and values in bf16" if kind == "int8" else "")
        for kind, size in found["bytes_per_generated_token"].items()
    ]
    work = [("FLOPs", _flops(found["flops_per_token"]), ""), *moved]
    _part(console, f"To generate one token after {config.context - 1:,} others", work)


def _part(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    has_notes = any(note for *_, note in rows)
    table.add_column(style=QUIET, no_wrap=True)
    table.add_column(justify="left" if title in ("Checkpoint", "Knobs") else "right", no_wrap=True)
    for name, value, note in rows:
        table.add_row(name, value, *([Text(note, LEARNED)] if has_notes else []))
    console.print()
    console.print(Text(title, "bold"))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _said(provenance: Provenance) -> list[tuple[str, str, str]]:
    stored = ", ".join(f"{kind} {_bytes(size)}" for kind, size in provenance.stored.items())
    return [
        ("family", provenance.family, ""),
        ("stored as", stored, ""),
        ("licence", provenance.licence or "not said", ""),
    ]


def _parameters(parts: dict[str, int], is_tied: bool) -> list[tuple[str, str, str]]:
    """Name, number and a bar of its share of the whole."""
    bars = {name: "█" * round(30 * value / parts["total"]) for name, value in parts.items() if name != "total"}
    if is_tied and not parts["head"]:
        bars["head"] = "tied: it is the embedding"
    return [(name, f"{value:,}", bars.get(name, "")) for name, value in parts.items()]


def _knobs(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """What is not at its default, flattened: decoder.attention.num_heads 6."""
    found: list[tuple[str, str]] = []
    for knob, value in config.items():
        if isinstance(value, dict):
            found += _knobs(value, f"{prefix}{knob}.")
        else:
            found.append((prefix + knob, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return found


def _cached(config: ModelConfig) -> dict[str, float]:
    return {name: cost.bytes_of_cached_value(config, bits) for name, bits in (("fp32", 32), ("bf16", 16), ("int8", 8))}


def _bytes(size: float) -> str:
    """1,234,567 B in the unit of its size, by thousands."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.2f} {unit}"
        size /= 1000
    return f"{size:,.2f} TB"


def _flops(number_of: int) -> str:
    return f"{number_of / 1e9:,.2f} G" if number_of >= 1e9 else f"{number_of / 1e6:,.2f} M"
