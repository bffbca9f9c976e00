"""Where a vector or a logit came from. In: a run and an ask. Out: answers for JSON: rollout, contributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...lens.attending import Block
from ...lens.contributions import contributions
from ...lens.rollout import Flow, Mixes, Thread, roll
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
    source = strand.source
    main, below, crossings = roll(_mixes(found, strand), shares, column, THINNEST, 0 if source is None else len(source))
    answer = _flow(main) | {"cross": [_threads(each) for each in crossings], "source": None}
    if source is not None:
        flow, _, _ = roll(_mixes(found, source), below, source.config.num_layers, THINNEST)
        answer["source"] = _flow(flow) | {"cross": []}
    return answer


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


def _mixes(found: Pass, strand: Strand) -> Mixes:
    """The mixes of a stack: of a few queries by themselves, of many the whole, which is kept."""

    def parts(layer: int, block: Block, holders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        is_few = len(holders) <= ROWS  # as for the vector looked at, which is one row
        yield (
            holders if is_few else torch.arange(len(strand)),
            mix(found, strand, layer, block, holders if is_few else None),
        )

    return parts


def _flow(flow: Flow) -> dict[str, Any]:
    return {"shares": flow.shares, "threads": [_threads(each) for each in flow.threads], "left_out": flow.left_out}


def _threads(threads: Sequence[Thread]) -> list[tuple[int, int, float]]:
    return [(thread.origin, thread.to, thread.share) for thread in threads]
