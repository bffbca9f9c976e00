"""What pushed a logit. In: a pass and a token. Out: one number for every part of the model; they add up to the logit.

The logit of token v is a sum over everything that was written into the stream at that position,

    logit_v = Σ_parts g · write(part) + biases,      g = the row of the head's matrix, carried back through the norms

because the norms between a part and the logit are linear once their lengths are held at those of this pass (Elhage et al. 2021;
"direct logit attribution"). With the norms after the sums (post), a part is carried through every later norm. The cap of the
logits and the activation before a masked model's head are held likewise, as factors: f(y) = (f(y) / y) · y.

The sum is exact; it is no cause. A part that changes also changes what later parts compute: `ablation` measures that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..model import Transformer
from ..model.head import Head, Transform
from .charts import Bar, Grid, bars, ramp
from .colour import Scale, Theme
from .numerals import digits, number, quoted
from .parts import (
    Sublayer,
    bias_behind,
    bias_of,
    check_no_masks,
    check_position,
    check_token,
    matrix_of,
    prefix_of,
    row_of,
    stack_name,
    sublayers,
    through_norm,
    written,
)
from .passes import logits_at
from .result import Result
from .sheet import MARGIN, SMALL, Sheet
from .trace import Trace

NUM_BARS = 16
LONGEST = 248
"""Pixels for the names of parts, of which the longest is a head of cross-attention."""

PartKind = Literal["token", "position", "type", "head", "cross", "feedforward", "bias"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the model and what it adds to the logit (or to the difference of two).

    kind: token, position and type are rows of tables; head and cross are attention heads; a feedforward has its own bias in it;
    bias: the biases of a layer's attention outputs and norms, or, with layer None, those before and behind all layers.
    """

    kind: PartKind
    stack: str
    layer: int | None
    head: int | None
    value: float

    @property
    def name(self) -> str:
        """In words: "layer 3 head 0"; the ends are what stands before and behind all layers."""
        if self.kind in ("head", "cross"):
            return f"layer {self.layer} {'cross-attention ' if self.kind == 'cross' else ''}head {self.head}"
        words = "feed-forward" if self.kind == "feedforward" else self.kind
        if self.layer is None:
            return "biases of the ends" if self.kind == "bias" else words
        return f"layer {self.layer} {words}"


@dataclass(frozen=True, kw_only=True)
class Contributions(Result):
    """Every part, in the order of the way. Their values add up to `total`, less `against_total` where there is one.

    position: whose logits; token_id: the token; against: the other token. total, against_total: the two logits of the pass.
    text, against_text: of the two tokens; tokens: of the pass, where they are known.
    """

    position: int
    token_id: int
    against: int | None
    parts: tuple[Part, ...]
    total: float
    against_total: float | None
    text: str
    against_text: str
    tokens: tuple[str, ...]

    @property
    def sum(self) -> float:
        """The parts added up."""
        return sum(part.value for part in self.parts)

    def draw(self, theme: Theme = "light") -> Sheet:
        """The strongest parts as bars, and every head and feed-forward layer in its place."""
        return _drawn(self, theme)


def contribution_sites(model: Transformer) -> tuple[str, ...]:
    """The patterns of the sites that `contributions` reads."""
    prefix, stack = prefix_of(model), model.main.config
    inside = ["attention.mixed", "feedforward.output", "residual.end"]
    inside += ["cross.mixed"] if model.config.has_cross else []
    if stack.placement == "post":
        inside += ["attention.output", "residual.start", "residual.middle"]
        inside += ["cross.output", "residual.crossed"] if model.config.has_cross else []
    layers = [f"{prefix}layers.*.{site}" for site in inside]
    return (f"{prefix}embedding.*", *layers, f"{prefix}output.norm")


def contributions(
    model: Transformer,
    trace: Trace,
    position: int,
    token_id: int,
    against: int | None = None,
    *,
    row: int = 0,
    texts: Callable[[int], str] = "id {}".format,
) -> Contributions:
    """What every part adds to the logit of a token at a position; with `against`, to its lead over the logit of that token.

    trace: of one pass without edits, with the sites of `contribution_sites`. row: of its batch; texts: id ->
    its text. Raises CutawayError for a position, row or id that does not exist, and for a model without a head.
    """
    check_position(trace, position, row)
    check_no_masks(model, trace)
    check_token(model, token_id)
    if against is not None:
        check_token(model, against, "against")
    walk = _Walk(model, trace, position, row)
    with torch.no_grad():
        logits = logits_at(model, trace[f"{walk.prefix}output.norm"][row : row + 1], position)[0]
    walk.begin(token_id, 1.0)
    if against is not None:
        walk.begin(against, -1.0)
    walk.back()
    return Contributions(
        position=position,
        token_id=token_id,
        against=against,
        parts=tuple(walk.found[::-1]),
        total=float(logits[token_id]),
        against_total=None if against is None else float(logits[against]),
        text=texts(token_id),
        against_text="" if against is None else texts(against),
        tokens=trace.texts[row] if trace.texts else (),
    )


class _Walk:
    """From the logit back to the embedding, at one position. direction: g of the file's equation, [d_model] float64."""

    def __init__(self, model: Transformer, trace: Trace, position: int, row: int) -> None:
        self.model, self.trace, self.position, self.row = model, trace, position, row
        self.prefix, self.stack = prefix_of(model), stack_name(model)
        self.direction = torch.zeros(model.main.config.d_model, dtype=torch.float64)
        self.bias = 0.0
        self.found: list[Part] = []  # the last first

    def at(self, site: str) -> Tensor:
        """The tensor of a site at the position: [..., d_model] float64."""
        return self.trace[self.prefix + site][self.row].select(-2, self.position).double().cpu()

    def begin(self, token_id: int, sign: float) -> None:
        """Add the head's row of a token, carried back to the states."""
        assert self.model.head is not None, "checked"
        direction, bias = _head_row(self.model.head, self.at("output.norm"), token_id)
        self.direction += sign * direction
        self.bias += sign * bias

    def back(self) -> None:
        """All the way, adding a part for everything that wrote."""
        last = self.model.main.config.num_layers - 1
        self.through(self.model.main.norm, self.at(f"layers.{last}.residual.end"))
        ends = self.bias
        for layer in range(last, -1, -1):
            self.bias, place = 0.0, len(self.found)
            for sublayer in reversed(sublayers(self.model, layer)):
                self.layer(sublayer, layer)
            self.found.insert(place, self.part("bias", self.bias, layer))
        self.bias = ends
        self.embedding()

    def through(self, norm: torch.nn.Module, x: Tensor) -> None:
        self.direction, bias = through_norm(norm, x, self.direction)
        self.bias += bias

    def layer(self, sublayer: Sublayer, layer: int) -> None:
        """One sublayer: the norm of the sum, then what was added."""
        site = f"layers.{layer}.{sublayer.name}"
        if not isinstance(sublayer.around, torch.nn.Identity):
            self.through(sublayer.around, self.at(f"layers.{layer}.{sublayer.enters}") + self.at(f"{site}.output"))
        if sublayer.attention is None:
            bias = bias_behind(sublayer.after, self.direction)
            self.bias += bias
            self.put("feedforward", float(self.at(f"{site}.output") @ self.direction) - bias, layer)
            return
        mixed = self.at(f"{site}.mixed").unsqueeze(1)
        writes, output_bias = written(sublayer.attention, mixed)[:, 0], bias_of(sublayer.attention.output)
        before, bias = through_norm(sublayer.after, writes.sum(0) + output_bias, self.direction)
        self.bias += bias + float(output_bias @ before)
        values = (writes @ before).tolist()
        for head in range(len(values) - 1, -1, -1):
            self.put("cross" if sublayer.name == "cross" else "head", values[head], layer, head)

    def embedding(self) -> None:
        """The tables, and before them in the list the biases of the ends."""
        stack = self.model.main
        tables = {"token": True, "position": stack.config.position.is_table, "type": stack.config.num_token_types > 0}
        rows = {name: self.at(f"embedding.{name}") for name, is_there in tables.items() if is_there}
        self.through(stack.embedding.norm, torch.stack(list(rows.values())).sum(0))
        self.found.insert(0, self.part("bias", self.bias))
        for kind in ("type", "position", "token"):
            if kind in rows:
                self.put(kind, float(rows[kind] @ self.direction))

    def put(self, kind: PartKind, value: float, layer: int | None = None, head: int | None = None) -> None:
        self.found.append(self.part(kind, value, layer, head))

    def part(self, kind: PartKind, value: float, layer: int | None = None, head: int | None = None) -> Part:
        return Part(kind=kind, stack=self.stack, layer=layer, head=head, value=value)


def _head_row(head: Head, states: Tensor, token_id: int) -> tuple[Tensor, float]:
    """The direction in the states that is the logit, and its bias. states: [d_model] float64 of the pass."""
    direction, bias = row_of(head.projection, token_id), float(bias_of(head.projection)[token_id])
    if isinstance(head.transform, Transform):
        dense, dense_bias = matrix_of(head.transform.dense), bias_of(head.transform.dense)
        entering = dense @ states + dense_bias
        active = head.transform.activate(entering)
        direction, norm_bias = through_norm(head.transform.norm, active, direction)
        direction = direction * torch.where(entering == 0, 0.0, active / entering)
        bias += norm_bias + float(dense_bias @ direction)
        direction = direction @ dense
    factor = head.scale
    if head.softcap is not None:
        whole = (float(direction @ states) + bias) * head.scale
        factor *= float(torch.tanh(torch.tensor(whole / head.softcap))) * head.softcap / whole if whole else 1.0
    return direction * factor, bias * factor


def _drawn(found: Contributions, theme: Theme) -> Sheet:
    sheet = Sheet(theme=theme)
    other = f" rather than {quoted(found.against_text)}" if found.against is not None else ""
    whole = found.total - (found.against_total or 0.0)
    said = f"Logit {number(found.total)}" if found.against is None else f"A lead of {number(whole)}"
    place = f" behind {quoted(found.tokens[found.position])}" if found.tokens else f" at position {found.position}"
    y = sheet.title(f"What pushed {quoted(found.text)}{other}", f"{said}{place}. The parts add up to it.")
    strong = sorted(found.parts, key=lambda part: abs(part.value), reverse=True)
    shown, rest = strong[:NUM_BARS], strong[NUM_BARS:]
    rows = [Bar(name=part.name, value=part.value, scale=_scale(part.kind)) for part in shown]
    if rest:
        rows.append(Bar(name=f"{len(rest)} others together", value=sum(part.value for part in rest), scale=None))
    sheet.text(MARGIN, y + 8, "The strongest parts", size=SMALL)
    label = min(LONGEST, max(int(7.2 * len(row.name)) for row in rows))
    end = bars(sheet, MARGIN, y + 20, rows, label=label, room=488 - label)
    x = MARGIN + 552
    grids = [_grid(found, kind) for kind in ("head", "cross") if any(part.kind == kind for part in found.parts)]
    if max(grid.width for grid in grids) > sheet.width - MARGIN - x:
        x, y = MARGIN, end + 20  # many heads: below the bars
    for grid in grids:
        y = grid.draw(sheet, x, y) + 20
    y = max(end, y) + 16
    ramp(sheet, MARGIN, y, "learned", "−", "+ a table or a bias")
    ramp(sheet, MARGIN + 240, y, "computed", "−", "+ computed from the text")
    sheet.caption(y + 16, "Exact sums, with each norm's length held at that of this pass. They are not causes: a part that "
                  "changes also changes what later parts compute.")  # fmt: skip
    return sheet


def _grid(found: Contributions, kind: str) -> Grid:
    """Layers down, heads across, the feed-forward layer last."""
    layers = 1 + max(part.layer for part in found.parts if part.layer is not None)
    heads = 1 + max(part.head for part in found.parts if part.kind == kind and part.head is not None)
    values: list[list[float | None]] = [[None] * (heads + (kind == "head")) for _ in range(layers)]
    for part in found.parts:
        if part.layer is not None and part.kind == kind and part.head is not None:
            values[part.layer][part.head] = part.value
        if part.layer is not None and kind == "head" and part.kind == "feedforward":
            values[part.layer][heads] = part.value
    most = max(abs(part.value) for part in found.parts if part.kind in ("head", "cross", "feedforward"))
    places = digits(most) if most < 100 else 1
    names = [str(head) for head in range(heads)] + (["f-f"] if kind == "head" else [])
    return Grid(
        values=values,
        rows=[f"layer {layer}" for layer in range(layers)],
        columns=names,
        scale="computed",
        most=most,
        shown=lambda row, column: number(values[row][column] or 0.0, places),
        box=(44, 22),
        label=52,
        head="Heads, and feed-forward layers (f-f)" if kind == "head" else "Heads of cross-attention",
    )


def _scale(kind: PartKind) -> Scale:
    return "computed" if kind in ("head", "cross", "feedforward") else "learned"
