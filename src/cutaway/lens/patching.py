"""Activation patching. In: two prompts that differ in a few tokens. Out: where what differs is held, layer by layer.

The model reads the second prompt, and one tensor of that pass is replaced by what it was for the first (Vig et al. 2020; Meng et
al. 2022, "causal tracing"; Wang et al. 2023). With d = logit(right) − logit(wrong) at the place read,

    restored = (d of the patched pass − d of the second) / (d of the first − d of the second)

0: nothing came back; 1: all of it; it can lie outside. It says that a place is enough to bring the answer back, not that it is
needed, nor that it is the only one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from .charts import Grid, ramp
from .colour import Theme
from .numerals import number, quoted
from .observe import trace
from .parts import check_encoder, check_token, prefix_of, stack_name
from .passes import Changes, Progress, batches, check_place, check_single, logits_at, states_of, texts_of
from .reading import Reading
from .result import Result
from .sheet import MARGIN, Sheet

Patched = Literal["residual", "attention", "feedforward", "cross", "heads", "cross_heads"]
SITES: dict[str, str] = {
    "residual": "residual.start",
    "attention": "attention.output",
    "feedforward": "feedforward.output",
    "cross": "cross.output",
    "heads": "attention.mixed",
    "cross_heads": "cross.mixed",
}

SAID = {
    "residual": "the stream of one token, as it enters the layer,",
    "attention": "what attention writes at one token",
    "feedforward": "what the feed-forward layer writes at one token",
    "cross": "what cross-attention writes at one token",
    "heads": "what one head writes, at every token,",
    "cross_heads": "what one head of cross-attention writes, at every token,",
}


@dataclass(frozen=True, kw_only=True)
class Patching(Result):
    """One number for every replaced tensor.

    what: what was replaced, at one token (residual: what enters the layer; attention, feedforward, cross: what they write) or of
    one head at all tokens (heads, cross_heads). restored: [layer][token or head]. first, second: d of the two prompts.
    position: the place read; right, wrong: the two tokens, with texts. tokens, other_tokens: of both, in the stack patched.
    """

    what: Patched
    stack: str
    restored: tuple[tuple[float, ...], ...]
    first: float
    second: float
    position: int
    right: int
    wrong: int
    right_text: str
    wrong_text: str
    tokens: tuple[str, ...]
    other_tokens: tuple[str, ...]

    def draw(self, theme: Theme = "light") -> Sheet:
        """Rows are tokens and columns layers; of heads, rows are layers."""
        grid = _heads(self) if self.what.endswith("heads") else _tokens(self)
        sheet = Sheet(2 * MARGIN + max(720, int(grid.width)), theme)
        lead = f"{quoted(self.right_text)} over {quoted(self.wrong_text)}"
        numbers = (
            f"The lead of {lead}: {number(self.first)} for the first prompt, {number(self.second)} for the second."
        )
        y = sheet.title(f"Where the lead of {lead} comes back", numbers)
        y = grid.draw(sheet, MARGIN, y) + 20
        ramp(sheet, MARGIN, y, "share", "0", "1: all of the lead is back")
        sheet.caption(
            y + 16,
            f"Each box is a pass over the second prompt in which {SAID[self.what]} is that of the first. Numbers outside 0 and 1 "
            "have the colour of the nearer end. A place that restores is enough for it; it need not be the only one.",
        )
        return sheet


@torch.inference_mode()
def patching(
    model: Transformer,
    first: Reading,
    second: Reading,
    *,
    what: Patched = "residual",
    right: int | None = None,
    wrong: int | None = None,
    position: int | None = None,
    of_encoder: bool = False,
    texts: Callable[[int], str] = "id {}".format,
    progress: Progress | None = None,
) -> Patching:
    """Patch from the first prompt into the second. Both have equally many tokens.

    right, wrong: ids; None: what the model says to the first, and to the second. position: the place read, the last if None.
    of_encoder: patch the encoder of two stacks. texts: id -> its text. Raises CutawayError for prompts of different lengths, or
    whose difference of logits is the same.
    """
    position = _check(model, first, second, what, position, of_encoder=of_encoder)
    ends = [logits_at(model, states_of(model, each), position)[0] for each in (first, second)]
    right, wrong = (int(end.argmax()) if i is None else i for end, i in zip(ends, (right, wrong), strict=True))
    leads = _leads(model, ends, right, wrong, texts)
    grid = _Grid(model, first, what, of_encoder=of_encoder)
    found: list[float] = []
    for batch in batches(second, len(grid.places)):
        watch = grid.watch(batch)
        logits = logits_at(model, states_of(model, second, watch, len(batch)), position)
        found += ((logits[:, right] - logits[:, wrong] - leads[1]) / (leads[0] - leads[1])).tolist()
        if progress is not None:
            progress(len(found), len(grid.places))
    return Patching(
        what=what,
        stack="encoder" if of_encoder else stack_name(model),
        restored=tuple(tuple(found[start : start + grid.width]) for start in range(0, len(found), grid.width)),
        first=leads[0],
        second=leads[1],
        position=position,
        right=right,
        wrong=wrong,
        right_text=texts(right),
        wrong_text=texts(wrong),
        tokens=texts_of(first.source if of_encoder else first),
        other_tokens=texts_of(second.source if of_encoder else second),
    )


class _Grid:
    """Every place that is patched, a layer after the other, and what the first prompt had there."""

    def __init__(self, model: Transformer, first: Reading, what: str, *, of_encoder: bool) -> None:
        stack = model.encoder if of_encoder else model.main
        assert stack is not None, "checked"
        site = f"{prefix_of(model, of_encoder=of_encoder)}layers.{{}}.{SITES[what]}"
        self.width = first.num_source if of_encoder else first.length
        if what.endswith("heads"):
            self.width = stack.config.attention.num_heads
        sites = [site.format(layer) for layer in range(stack.config.num_layers)]
        self.places = [(name, place) for name in sites for place in range(self.width)]
        self.clean = trace(model, first, site.format("*"))

    def watch(self, batch: range) -> Changes:
        """Each row of the batch gets what the first prompt had at one place."""
        chosen = [self.places[index] for index in batch]
        return Changes({name: _put(self.clean[name][0], chosen, name) for name in dict(chosen)})


def _put(clean: Tensor, chosen: list[tuple[str, int]], site: str) -> Callable[[Tensor], Tensor]:
    """Each row whose place is at this site gets the clean numbers there. clean: a row for each place."""
    places = [(row, place) for row, (name, place) in enumerate(chosen) if name == site]

    def patched(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        for row, place in places:
            tensor[row, place] = clean[place]
        return tensor

    return patched


def _check(
    model: Transformer, first: Reading, second: Reading, what: str, position: int | None, *, of_encoder: bool
) -> int:
    """The place read."""
    for each in (first, second):
        check_single(each)
    if what not in SITES:
        raise CutawayError(f"what is '{what}'. Allowed: {', '.join(SITES)}.")
    check_encoder(model, of_encoder=of_encoder)
    if what.startswith("cross") and (of_encoder or not model.config.has_cross):
        raise CutawayError(f"what is '{what}', but only the decoder of two stacks has cross-attention. Choose another.")
    for name, one, other in (
        ("prompts", first.length, second.length),
        ("sources", first.num_source, second.num_source),
    ):
        if one != other:
            raise CutawayError(
                f"The {name} have {one} and {other} tokens. Patching goes from a token to the one at the same place: choose "
                "two with equally many."
            )
    return check_place(first, position)


def _leads(model: Transformer, ends: list[Tensor], right: int, wrong: int, texts: Callable[[int], str]) -> list[float]:
    """d of both prompts. ends: the logits of each at the place read."""
    check_token(model, right, "right")
    check_token(model, wrong, "wrong")
    if right == wrong:
        raise CutawayError(
            f"The right and the wrong token are both '{texts(right)}'. Name two that the prompts differ in."
        )
    first, second = (float(logits[right] - logits[wrong]) for logits in ends)
    if first == second:
        raise CutawayError(
            "Both prompts give the same difference of logits: there is nothing to restore. Name other tokens."
        )
    return [first, second]


def _tokens(found: Patching) -> Grid:
    layers, length = len(found.restored), len(found.restored[0])
    pairs = list(zip(found.tokens, found.other_tokens, strict=True)) or [(str(i), str(i)) for i in range(length)]
    values = [[found.restored[layer][place] for layer in range(layers)] for place in range(length)]
    return Grid(
        values=values,
        rows=[one if one == other else f"{one} for {other}" for one, other in pairs],
        columns=[str(layer) for layer in range(layers)],
        scale="share",
        shown=lambda row, column: number(values[row][column]),
        box=(48, 22),
        look=found.position if found.stack != "encoder" else None,
        strong=frozenset(place for place, (one, other) in enumerate(pairs) if one != other),
        label=min(240, 8 * max(10, *(len(one) if one == other else len(one + other) + 5 for one, other in pairs))),
        head="Layers",
    )


def _heads(found: Patching) -> Grid:
    return Grid(
        values=found.restored,
        rows=[f"layer {layer}" for layer in range(len(found.restored))],
        columns=[str(head) for head in range(len(found.restored[0]))],
        scale="share",
        shown=lambda row, column: number(found.restored[row][column]),
        box=(48, 22),
        head="Heads",
    )
