"""Adapters of several projections <-> one of the matrix that they are in a file. In: A and B of each. Out: one A and B, exactly.

Those with the same A share it, and their B lie one below the other, as the rows of the matrix do. Different A lie one below the
other too, and B is zero where a row meets the A of another: the same change, at the sum of the ranks. A projection without an
adapter has rows of zeros, and so has an expert: PEFT holds the experts of all layers as a few matrices of one rank. Notes beside
the file, `adapter_parts.json`, say what lies where, so that reading gives back exactly what was written; without them, each
projection gets the whole A, which is the same change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model.adapter import LowRank
from .adapter_names import Target
from .files import read_json
from .layout import join, split

PARTS = "adapter_parts.json"
TOGETHER = (".experts.", ".router")  # in paths: what PEFT takes all of, or none


@dataclass(frozen=True, slots=True)
class Factors:
    """One adapter. down: A, [rank, d_in]; up: B, [d_out, rank]."""

    knobs: LowRank
    down: Tensor
    up: Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Where the adapter of one projection lies in that of a module. start, rank: its rows of A, or none; alpha: its own."""

    start: int
    rank: int
    alpha: float


def fuse(target: Target, ours: Mapping[str, Factors]) -> tuple[Factors, dict[str, Part]]:
    """One adapter for a module of theirs, and the notes that it needs. ours: by path; of this target at least one."""
    present = {path: ours[path] for path in target.ours if path in ours}
    starts, downs, rank = _stacked(present)
    first = next(iter(present.values())).knobs
    knobs = replace(first, rank=rank, alpha=_alpha(first, rank, first.scale))
    ups = [torch.zeros(shape[0], rank, dtype=downs[0].dtype, device=downs[0].device) for shape in target.shapes]
    parts = {path: Part(0, 0, 0.0) for path in target.ours}
    for path, up in zip(target.ours, ups, strict=True):
        if path in present:
            own, start = present[path], starts[path]
            # Bit for bit where the scales are one, as they are of adapters that were attached together.
            is_alike = own.knobs.scale == first.scale
            up[:, start : start + own.knobs.rank] = own.up if is_alike else own.up * (own.knobs.scale / first.scale)
            alpha = own.knobs.alpha if is_alike else _alpha(own.knobs, own.knobs.rank, first.scale)
            parts[path] = Part(start, own.knobs.rank, alpha)
    is_whole = all(part.rank == rank for part in parts.values())
    return Factors(knobs, torch.cat(downs), join(target.rows, ups)), {} if is_whole else parts


def cut(target: Target, whole: Factors, parts: Mapping[str, Part]) -> dict[str, Factors]:
    """The adapter of each projection, by path. parts: notes by path; what they say counts where the numbers agree."""
    found: dict[str, Factors] = {}
    ups = split(target.rows, whole.up, [(shape[0], whole.knobs.rank) for shape in target.shapes])
    for path, up in zip(target.ours, ups, strict=True):
        part = parts.get(path)
        if part is None or not _agrees(part, up, whole.knobs):
            found[path] = replace(whole, up=up)
        elif part.rank:
            knobs, lines = (
                replace(whole.knobs, rank=part.rank, alpha=part.alpha),
                slice(part.start, part.start + part.rank),
            )
            found[path] = Factors(knobs, whole.down[lines], up[:, lines])
    return found


def complete(targets: Iterable[Target], ours: Mapping[str, Factors]) -> tuple[dict[str, Factors], dict[str, Part]]:
    """The adapters with those of zeros that PEFT needs beside them, and the notes that say which these are.

    Raises CutawayError for experts whose adapters PEFT would put together wrongly.
    """
    found, parts = dict(ours), {}
    for kind in TOGETHER:
        alike = {target.ours[0]: target.shapes[0] for target in targets if kind in f"{target.ours[0]}."}
        first = next((ours[path] for path in alike if path in ours), None)
        if first is None:
            continue
        if kind == TOGETHER[0] and any(ours[path].knobs != first.knobs for path in alike if path in ours):
            raise CutawayError("PEFT's format holds experts of one rank and alpha, and these have several. Merge them.")
        if kind == TOGETHER[0] and first.knobs.is_rank_stabilised:
            raise CutawayError(
                "PEFT scales rank-stabilised adapters of experts otherwise. Attach plain ones, or merge them."
            )
        for path, (d_out, d_in) in alike.items():
            if path not in ours:
                rank, like = first.knobs.rank, first.down
                found[path] = Factors(first.knobs, like.new_zeros(rank, d_in), like.new_zeros(d_out, rank))
                parts[path] = Part(0, 0, 0.0)
    return found, parts


def read_parts(directory: Path) -> dict[str, Part]:
    """The notes in a directory, by path; none where there is no such file. Raises CutawayError for a damaged one."""
    path = directory / PARTS
    if not path.exists():
        return {}
    parts = {}
    for name, values in read_json(path).items():
        is_part = isinstance(values, list) and [type(value) for value in values[:2]] == [int, int] and len(values) == 3
        if not is_part or type(values[2]) not in (int, float) or min(values[:2]) < 0:
            raise CutawayError(
                f"{path}: '{name[:80]}' is {str(values)[:80]}. It takes [start, rank, alpha]. Without this file the "
                "adapter computes the same: delete it, or save the adapter again."
            )
        parts[name] = Part(*values)
    return parts


def write_parts(directory: Path, parts: Mapping[str, Part]) -> None:
    """Write the notes, where there are any."""
    if parts:
        values = {path: [part.start, part.rank, part.alpha] for path, part in parts.items()}
        (directory / PARTS).write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def _stacked(present: Mapping[str, Factors]) -> tuple[dict[str, int], list[Tensor], int]:
    """Where the A of each begins, the different ones, and how many rows they have together."""
    starts: dict[str, int] = {}
    downs: list[Tensor] = []
    rank = 0
    for path, factors in present.items():
        twin = next((other for other in starts if torch.equal(present[other].down, factors.down)), None)
        starts[path] = rank if twin is None else starts[twin]
        if twin is None:
            downs.append(factors.down)
            rank += len(factors.down)
    return starts, downs, rank


def _alpha(knobs: LowRank, rank: int, scale: float) -> float:
    """The alpha that gives this scale at a rank."""
    if rank == knobs.rank and scale == knobs.scale:
        return knobs.alpha
    if knobs.is_rank_stabilised:
        return scale * math.sqrt(rank)
    return knobs.alpha * rank / knobs.rank if scale == knobs.scale else scale * rank


def _agrees(part: Part, up: Tensor, whole: LowRank) -> bool:
    """Whether a note fits the numbers: nothing of the projection outside of its part, and the same scale."""
    end = part.start + part.rank
    if part.rank:
        scale = replace(whole, rank=part.rank, alpha=part.alpha).scale
        if end > whole.rank or not math.isclose(scale, whole.scale, rel_tol=1e-9):
            return False
    return not bool(up[:, : part.start].any()) and not bool(up[:, end:].any())
