"""Where a vector or a logit came from. In: a run and an ask. Out: answers for JSON: rollout, contributions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...lens.attending import Block
from ...lens.contributions import contributions
from .asks import AskRollout, AskWhy
from .attended import ROWS, mix
from .passes import Pass, Strand, within

THINNEST = 0.002


@torch.inference_mode()
def rollout_of(found: Pass, ask: AskRollout) -> dict[str, Any]:
    """Which tokens the vector in a column came from, as `lens.rollout` has it, of either stack.

    The mixes of the layers are kept with the run, so that the next vector of the same text takes a product a layer.
    """
    strand = found.strand(ask.stack)
    shares = torch.zeros(len(strand), dtype=torch.float64)
    shares[strand.check(ask.token)] = 1.0
    column = within("column", ask.column, strand.config.num_layers + 1, "columns from embedding.sum on")
    main, below = _down(found, strand, shares, column)
    if below is None or strand.source is None:
        return {**main, "source": None}
    return {**main, "source": _down(found, strand.source, below, strand.source.config.num_layers)[0]}


@torch.inference_mode()
def why_of(found: Pass, ask: AskWhy) -> dict[str, Any]:
    """What pushed the logit of a word, part by part; what edits put into the stream is a part of its own."""
    token = found.main.check(ask.token)
    seen = contributions(found.model, found.trace, token, ask.word, ask.against)
    parts = [asdict(part) | {"stack": found.main.name} for part in seen.parts]
    total = seen.total - (seen.against_total or 0.0)
    if found.ask.edits:
        blank = dict.fromkeys(("layer", "head"))
        parts.append({"kind": "edit", "stack": found.main.name, **blank, "value": total - seen.sum})
    return {"parts": parts, "total": seen.total, "against_total": seen.against_total}


def _down(found: Pass, strand: Strand, shares: Tensor, column: int) -> tuple[dict[str, Any], Tensor | None]:
    """From a column of shares, [token], down to the sum: the flow, and the shares that a source is left with."""
    columns, threads, left_out, crossings = [shares], [], [], []
    below = None if strand.source is None else torch.zeros(len(strand.source), dtype=torch.float64)
    for layer in reversed(range(column)):
        others = 0.0
        if below is not None:
            taken, crossed, others = _through(found, strand, layer, "cross", shares)
            below = below + taken
            crossings.append(crossed)
        shares, within_stack, rest = _through(found, strand, layer, "attention", shares)
        columns.append(shares)
        threads.append(within_stack)
        left_out.append(rest + others)
    flow = {
        "shares": [each.tolist() for each in reversed(columns)],
        "threads": threads[::-1],
        "left_out": left_out[::-1],
        "cross": crossings[::-1],
    }
    return flow, below


def _through(
    found: Pass, strand: Strand, layer: int, block: Block, shares: Tensor
) -> tuple[Tensor, list[tuple[int, int, float]], float]:
    """The shares that each key of a layer gives, its threads, and the share of all that are too thin. shares: [query]."""
    holders = shares.nonzero()[:, 0]
    is_few = len(holders) <= ROWS  # as for the vector looked at, which is one row
    taken = mix(found, strand, layer, block, holders if is_few else None)
    kept = shares[holders] if is_few else shares
    rows = (kept >= THINNEST).nonzero()[:, 0]  # no other has a thread as thick
    given = taken[rows].double() * kept[rows, None]
    strong = (given >= THINNEST).nonzero()
    values = given[strong[:, 0], strong[:, 1]]
    to = (holders[rows] if is_few else rows)[strong[:, 0]]
    before = (kept.float() @ taken).double()
    threads = list(zip(strong[:, 1].tolist(), to.tolist(), values.tolist(), strict=True))
    return before, threads, max(0.0, float(before.sum() - values.sum()))
