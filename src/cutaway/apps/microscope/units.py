"""One hidden unit of a run. In: the run and an ask. Out: its value, the direction that it writes, and the words it pushes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import CutawayError
from ...lens.units import directions, lengths, network_of, pushed
from ...model.feedforward import FeedForward
from .asks import AskUnit
from .passes import Pass, Strand, within
from .words import text_of

NUM_PUSHED = 5


@torch.inference_mode()
def unit_of(found: Pass, ask: AskUnit) -> dict[str, Any]:
    """The unit; the one that writes most where none is named. Raises CutawayError where experts stand in place of units."""
    strand = found.strand(ask.stack)
    token, layer = strand.check(ask.token), strand.layer(ask.layer)
    network, num_units = _network(strand, layer), strand.config.feedforward.d_hidden
    site = f"{strand.scope}layers.{layer}.feedforward."
    before, active = (found.tensor(site + name) for name in ("pre", "active"))
    strengths = active[token].double().abs() * _lengths(found, strand, layer, network)
    unit = int(strengths.argmax()) if ask.unit is None else within("unit", ask.unit, num_units, "units of the layer")
    written = active[token, unit] * directions(network, torch.tensor([unit]), num_units, active)[0]
    toward: list[int] = []
    away: list[int] = []
    if strand is found.main and found.model.head is not None:
        toward, away = pushed(found.model, found.opened.words, written, NUM_PUSHED)
    words = found.opened.words
    return {
        "unit": unit,
        "value": float(active[token, unit]),
        "before": float(before[token, unit]),
        "strength": float(strengths[unit]),
        "toward": [text_of(words, i) for i in toward],
        "away": [text_of(words, i) for i in away],
        "direction": written.tolist(),
        "firing": float((before[:, unit] > 0).double().mean()),
    }


def _network(strand: Strand, layer: int) -> FeedForward:
    network = network_of(strand.stack, layer)
    if network is None:
        raise CutawayError(
            "The feed-forward layers of this model are mixtures of experts, whose units see different tokens and have no "
            f"site. Look at the router: {strand.scope}layers.{layer}.feedforward.router."
        )
    return network


def _lengths(found: Pass, strand: Strand, layer: int, network: FeedForward) -> Tensor:
    """The lengths of what units write, kept with the run: [d_hidden]."""
    key = ("lengths", strand.name, layer)
    with found.lock:
        if key not in found.kept:
            found.kept[key] = lengths(network, strand.config.feedforward.d_hidden, found.model.token.weight)
        kept = found.kept[key]
    assert isinstance(kept, Tensor), "kept under its own key"
    return kept
