"""Passes for experiments. In: one text, and who changes what on the way. Out: states, logits, losses.

The text runs several times at once as rows of a batch, so that each row can be changed in another place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError
from ..model import Call, Transformer
from ..model import visibility as visible
from ..model.call import Watch
from ..runtime.attend import fused
from .reading import Reading

Progress = Callable[[int, int], None]
"""Told after each batch of runs: how many are done, and of how many."""

CELLS = 8192
"""Tokens of a batch: as many rows run at once as have no more together."""


class Changes:
    """A `model.call.Watch` that changes the tensors of some sites. changes: site -> what becomes of its tensor."""

    def __init__(self, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        self.changes = changes

    def wants(self, site: str) -> bool:
        """Whether this site is changed."""
        return site in self.changes

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """The changed tensor."""
        return self.changes[site](tensor) if site in self.changes else tensor


def states_of(model: Transformer, reading: Reading, watch: Watch | None = None, rows: int | None = None) -> Tensor:
    """What the last stack makes of what is read: [batch, position, d_model]. rows: one text is run in so many, side by side."""
    count = -1 if rows is None else rows
    memory = None
    if reading.source is not None:
        call = Call(reading.source.tokens, attend=fused, watch=watch)
        memory = model.encode(reading.source.ids.expand(count, -1), call)
    call = Call(reading.tokens, attend=fused, memory=memory, watch=watch)
    return model.states(reading.ids.expand(count, -1), call)


def logits_at(model: Transformer, states: Tensor, position: int) -> Tensor:
    """The logits at a position: [batch, position, d_model] -> [batch, vocab] float64 on the CPU. Nobody watches the head."""
    call = Call(visible.full(1, device=states.device))
    return model.logits(states[:, position : position + 1], call)[:, 0].double().cpu()


@torch.inference_mode()
def likeliest(model: Transformer, reading: Reading, position: int) -> int:
    """The id with the largest logit at a position."""
    return int(logits_at(model, states_of(model, reading), position)[0].argmax())


def losses_of(model: Transformer, states: Tensor, ids: Tensor) -> Tensor:
    """The loss of each next token: states [batch, position, d_model], ids [batch, position] -> [batch, position − 1] float64.

    Row by row, so that the logits of one row are held at a time.
    """
    call = Call(visible.full(states.shape[1], device=states.device))
    logits = (model.logits(row.unsqueeze(0), call)[0, :-1].double() for row in states)
    losses = [F.cross_entropy(each, row[1:], reduction="none") for each, row in zip(logits, ids, strict=True)]
    return torch.stack(losses).cpu()


def batches(reading: Reading, count: int) -> list[range]:
    """`count` runs of a text in batches."""
    size = max(1, CELLS // max(reading.length, reading.num_source))
    return [range(start, min(count, start + size)) for start in range(0, count, size)]


def texts_of(reading: Reading | None) -> tuple[str, ...]:
    """The texts of the tokens of one row, or none."""
    return reading.texts[0] if reading is not None and reading.texts else ()


def check_single(reading: Reading) -> None:
    """Raises CutawayError for several texts."""
    if len(reading.ids) != 1:
        raise CutawayError(f"This is measured on one text, and there are {len(reading.ids)}. Give one.")


def check_place(reading: Reading, position: int | None) -> int:
    """The position, the last for None; a negative one counts from the end. Raises CutawayError for one that is not there."""
    check_single(reading)
    if position is None:
        return reading.length - 1
    count = f"The text has {reading.length} tokens, numbered from 0 to {reading.length - 1}; −1 is the last."
    try:
        place = index(position)
    except TypeError:
        raise CutawayError(f"position is {position!r:.40}. {count}") from None
    if not -reading.length <= place < reading.length:
        raise CutawayError(f"position is {place}. {count}")
    return place % reading.length
