"""What is missing without a part. In: a text. Out: for each head and each feed-forward layer, what its loss does.

One part at a time is switched off for the whole pass: zero (it writes nothing) or mean (it writes the same at every token: its
mean over the text, or over reference texts), and

    effect = measure without it − measure of the whole model

of a logit, of the lead of one token over another, or of the text's loss in nats a token. Heads are switched off before the
output matrix, feed-forward layers where they meet the stream. Parts can stand in for each other ("self-repair", McGrath et al.
2023), so that a small effect does not say that a part does nothing; zero is a value that later parts have never met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from .charts import Grid, ramp
from .colour import Theme
from .numerals import digits, number, quoted
from .observe import trace
from .parts import check_encoder, check_token, prefix_of, stack_name
from .passes import Changes, Progress, batches, check_place, check_single, logits_at, losses_of, states_of
from .reading import Reading
from .result import Result
from .sheet import MARGIN, Sheet

How = Literal["zero", "mean"]
SAID = {"zero": "A part that is off writes nothing.", "mean": "A part that is off writes its mean."}
PARTS = {"heads": "attention.mixed", "cross": "cross.mixed", "feedforward": "feedforward.output"}


@dataclass(frozen=True, kw_only=True)
class Ablation(Result):
    """The effects of all parts of a stack. heads, cross: [layer][head], cross only where there is a source; feedforward: [layer].

    how: zero or mean. measure: "logit", "lead" or "loss"; whole: that of the whole model. position, token_id, against: of logits.
    """

    how: How
    measure: str
    stack: str
    whole: float
    heads: tuple[tuple[float, ...], ...]
    cross: tuple[tuple[float, ...], ...]
    feedforward: tuple[float, ...]
    position: int | None
    token_id: int | None
    against: int | None
    text: str
    against_text: str

    def draw(self, theme: Theme = "light") -> Sheet:
        """Layers down; heads across, then the feed-forward layer."""
        measured = {
            "loss": "the loss",
            "logit": f"the logit of {quoted(self.text)}",
            "lead": f"the lead of {quoted(self.text)} over {quoted(self.against_text)}",
        }
        what = measured[self.measure]
        grids = [_grid(self, self.heads, self.feedforward, "Heads, and feed-forward layers (f-f)")]
        grids += [_grid(self, self.cross, (), "Heads of cross-attention")] if self.cross else []
        sheet = Sheet(2 * MARGIN + max(640, int(grids[0].width)), theme)
        y = sheet.title(f"What {what} does without a part", f"The whole model: {number(self.whole)}. {SAID[self.how]}")
        for grid in grids:
            y = grid.draw(sheet, MARGIN, y) + 20
        most = number(grids[0].most, digits(grids[0].most))
        ramp(sheet, MARGIN, y, "computed", f"−{most}", f"+{most} without it")
        sheet.caption(
            y + 16,
            "One part is off in each box. Parts can stand in for each other: a small number does not say that a part does "
            "nothing.",
        )
        return sheet


@torch.inference_mode()
def ablation(
    model: Transformer,
    reading: Reading,
    token_id: int | None = None,
    against: int | None = None,
    *,
    position: int | None = None,
    how: How = "zero",
    reference: Sequence[Reading] = (),
    of_encoder: bool = False,
    texts: Callable[[int], str] = "id {}".format,
    progress: Progress | None = None,
) -> Ablation:
    """Every part of a stack, one at a time. token_id: whose logit is measured, less that of `against`; None: the text's loss.

    position: of the logit, the last if None. reference: texts whose mean is written, the text itself if none. of_encoder: the
    encoder's parts, of two stacks. Raises CutawayError for what the model does not have, and for the loss of a model that does
    not predict the next token.
    """
    position = _check(model, reading, token_id, against, position, how, reference, of_encoder=of_encoder)
    measure = _measure(model, reading, token_id, against, position)
    parts = list(_parts(model, of_encoder=of_encoder))
    fill = _fill(model, reference or [reading], parts) if how == "mean" else {}
    whole = float(measure(None, 1)[0])
    effects: list[float] = []
    for batch in batches(reading, len(parts)):
        chosen = [parts[index] for index in batch]
        watch = Changes({site: _without(site, chosen, fill.get(site)) for site in {part.site for part in chosen}})
        effects += (measure(watch, len(chosen)) - whole).tolist()
        if progress is not None:
            progress(len(effects), len(parts))
    return Ablation(
        how=how,
        measure="loss" if token_id is None else "logit" if against is None else "lead",
        stack="encoder" if of_encoder else stack_name(model),
        whole=whole,
        heads=_by_layer(parts, effects, "heads"),
        cross=_by_layer(parts, effects, "cross"),
        feedforward=tuple(row[0] for row in _by_layer(parts, effects, "feedforward")),
        position=None if token_id is None else position,
        token_id=token_id,
        against=against,
        text="" if token_id is None else texts(token_id),
        against_text="" if against is None else texts(against),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    kind: str
    layer: int
    head: int | None
    site: str


def _parts(model: Transformer, *, of_encoder: bool) -> Iterator[_Part]:
    stack = model.encoder if of_encoder else model.main
    assert stack is not None, "checked"
    has_cross = model.config.has_cross and not of_encoder
    prefix, heads = prefix_of(model, of_encoder=of_encoder), range(stack.config.attention.num_heads)
    for layer in range(stack.config.num_layers):
        for kind, inside in PARTS.items():
            if kind == "cross" and not has_cross:
                continue
            for head in [None] if kind == "feedforward" else heads:
                yield _Part(kind=kind, layer=layer, head=head, site=f"{prefix}layers.{layer}.{inside}")


def _without(site: str, chosen: list[_Part], fill: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Each row loses its part. fill: what is there instead, [head, d_head] or [d_model]; None: zero."""
    places = [(row, part.head) for row, part in enumerate(chosen) if part.site == site]

    def changed(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        for row, head in places:
            if head is None:
                tensor[row] = 0 if fill is None else fill
            else:
                tensor[row, head] = 0 if fill is None else fill[head]
        return tensor

    return changed


def _fill(model: Transformer, readings: Sequence[Reading], parts: list[_Part]) -> dict[str, Tensor]:
    """The mean of each site over all tokens of the texts: [head, d_head] or [d_model]."""
    names = sorted({part.site for part in parts})
    seen = [trace(model, each, names) for each in readings]
    return {name: torch.cat([each[name][0] for each in seen], dim=-2).mean(-2) for name in names}


def _measure(
    model: Transformer, reading: Reading, token_id: int | None, against: int | None, position: int
) -> Callable[[Changes | None, int], Tensor]:
    """How much, for each of so many rows: [batch] float64."""

    def measured(watch: Changes | None, rows: int) -> Tensor:
        states = states_of(model, reading, watch, rows)
        if token_id is None:
            return losses_of(model, states, reading.ids.expand(rows, -1)).mean(-1)
        logits = logits_at(model, states, position)
        return logits[:, token_id] if against is None else logits[:, token_id] - logits[:, against]

    return measured


def _by_layer(parts: list[_Part], effects: list[float], kind: str) -> tuple[tuple[float, ...], ...]:
    found: dict[int, list[float]] = {}
    for part, effect in zip(parts, effects, strict=True):
        if part.kind == kind:
            found.setdefault(part.layer, []).append(effect)
    return tuple(tuple(row) for _, row in sorted(found.items()))


def _check(
    model: Transformer,
    reading: Reading,
    token_id: int | None,
    against: int | None,
    position: int | None,
    how: str,
    reference: Sequence[Reading],
    *,
    of_encoder: bool,
) -> int:
    """The position of the logit."""
    check_single(reading)
    for each in reference:
        check_single(each)
    if how not in ("zero", "mean"):
        raise CutawayError(f"how is '{how}'. Allowed: zero, mean.")
    check_encoder(model, of_encoder=of_encoder)
    if token_id is None:
        if against is not None:
            raise CutawayError("against is given without token_id. Name both, or neither for the loss.")
        if not model.config.says_next:
            raise CutawayError(
                "This model does not predict the next token, so a text has no loss here. Name a token_id."
            )
        if reading.length < 2:
            raise CutawayError("The loss of one token cannot be measured: nothing comes before it. Give two or more.")
    for name, value in (("token_id", token_id), ("against", against)):
        if value is not None:
            check_token(model, value, name)
    return check_place(reading, position)


def _grid(found: Ablation, heads: Sequence[Sequence[float]], last: Sequence[float], head: str) -> Grid:
    values = [[*row, *last[layer : layer + 1]] for layer, row in enumerate(heads)]
    most = max(abs(effect) for row in (*found.heads, *found.cross, found.feedforward) for effect in row)
    return Grid(
        values=values,
        rows=[f"layer {layer}" for layer in range(len(values))],
        columns=[*(str(index) for index in range(len(heads[0]))), *(["f-f"] if last else [])],
        scale="computed",
        most=most,
        shown=lambda row, column: number(values[row][column], digits(most)),
        box=(48, 22),
        head=head,
    )
