"""The residual stream on its way up. In: the trace of a pass. Out: its lengths, what is added, and what it would say early.

The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"): the stream at any depth goes through the final norm
and the head, as if the layers above it were not there. At the last end it is the output itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import Call, Transformer
from ..model import visibility as visible
from .trace import Trace
from .words import Guess, Words


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The stream of the token looked at, at one site.

    layer, point: start (before the first layer), middle (after attention), end (after the feed-forward layer). norm: its
    length; added: the length of what the sublayer before this site added, None at the start. guesses: the logit lens.
    """

    site: str
    layer: int
    point: str
    norm: float
    added: float | None
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, kw_only=True)
class Lens:
    """The logit lens of many tokens. sites: one a column; first: the token of the first row; rows: [row][column]."""

    sites: tuple[str, ...]
    first: int
    rows: tuple[tuple[Guess, ...], ...]


def readings(model: Transformer, trace: Trace, words: Words, position: int, count: int) -> tuple[Reading, ...]:
    """The stream of one token: the start, then the middle (where the block has one) and the end of every layer."""
    return tuple(_reading(model, trace, words, position, count, *place) for place in _places(model, trace))


def lens_of(model: Transformer, trace: Trace, words: Words, shown: range) -> Lens:
    """The likeliest token at the start and at the end of every layer, for the tokens in `shown`."""
    ends = tuple(site for site, _, point in _places(model, trace) if point != "middle")
    columns = []
    for site in ends:
        chances = would_say(model, trace[site][:, shown.start : shown.stop])[0]
        columns.append([words.guesses(row, 1)[0] for row in chances])
    return Lens(sites=ends, first=shown.start, rows=tuple(zip(*columns, strict=True)))


@torch.inference_mode()
def would_say(model: Transformer, states: Tensor) -> Tensor:
    """The logit lens: final norm, head, softmax in float64. states: [batch, position, d_model] -> [batch, position, vocab]."""
    logits = model.logits(model.main.norm(states), Call(visible.full(states.shape[1], device=states.device)))
    return logits.double().softmax(-1)


def _places(model: Transformer, trace: Trace) -> list[tuple[str, int, str]]:
    """Site, layer and point; the start of a later layer is the end of the one below it and does not come twice."""
    found = [("layers.0.residual.start", 0, "start")]
    for layer in range(model.main.config.num_layers):
        found += [(f"layers.{layer}.residual.{point}", layer, point) for point in ("middle", "end")]
    return [place for place in found if place[0] in trace]


def _reading(
    model: Transformer, trace: Trace, words: Words, position: int, count: int, site: str, layer: int, point: str
) -> Reading:
    state = trace[site][:, position : position + 1]
    writers = {"start": (), "middle": ("attention",), "end": ("feedforward",)}[point]
    if point == "end" and model.main.config.placement == "parallel":
        writers = ("attention", "feedforward")
    written = [trace[f"layers.{layer}.{writer}.output"][0, position].double() for writer in writers]
    return Reading(
        site=site,
        layer=layer,
        point=point,
        norm=float(state.double().norm()),
        added=float(torch.stack(written).sum(0).norm()) if written else None,
        guesses=words.guesses(would_say(model, state)[0, 0], count),
    )
