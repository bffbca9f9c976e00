"""Where a vector or a logit came from. In: a run and an ask. Out: the lens's answers (rollout, contributions) for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from ...lens.contributions import contributions
from ...lens.rollout import Flow, Thread, rollout
from .asks import AskRollout, AskWhy
from .passes import Pass, within

THINNEST = 0.002


@torch.inference_mode()
def rollout_of(found: Pass, ask: AskRollout) -> dict[str, Any]:
    """Which tokens the vector in a column came from; the columns are those that `lens.rollout` counts."""
    strand = found.strand(ask.stack)
    token = strand.check(ask.token)
    column = within("column", ask.column, strand.config.num_layers + 1, "columns from embedding.sum on")
    of_encoder = strand is not found.main
    seen = rollout(found.model, found.trace, token, column, threshold=THINNEST, of_encoder=of_encoder)
    source = None if seen.source is None else {**_flow(seen.source), "cross": []}
    return {**_flow(seen.main), "cross": [_threads(each) for each in seen.crossings], "source": source}


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


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "shares": [list(column) for column in flow.shares],
        "threads": [_threads(each) for each in flow.threads],
        "left_out": list(flow.left_out),
    }


def _threads(threads: Sequence[Thread]) -> list[tuple[int, int, float]]:
    return [(thread.origin, thread.to, thread.share) for thread in threads]
