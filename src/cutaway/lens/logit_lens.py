"""What the stream would say at every depth and place. In: a pass. Out: the likeliest tokens of every cell.

The logit lens (nostalgebraist 2020): the stream at a depth goes through the final norm and the head, as if the layers above were
not there (`stream.would_say`). In the last column it is the output itself. It reads early streams with the last layers' eyes: a
model may hold a word in another form there, and the lens then shows nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..model import Transformer
from .charts import GAP, LABEL, WIDEST, Grid, cut, ramp
from .colour import Theme
from .parts import check_count, prefix_of
from .result import Result
from .sheet import MARGIN, Sheet
from .stream import would_say
from .trace import Trace
from .words import Guess, Names

BLOCK = 64
"""Positions at a time: no distribution of more is held."""
LEAST = 60.0
"""Pixels of a column, so that there is room for a word: a deep model has a wider sheet."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One stream. guesses: its likeliest tokens, the likeliest first. actual: the chance of the token that the text goes on with,
    None at its end; rank: that token's, the likeliest is 0.
    """

    guesses: tuple[Guess, ...]
    actual: float | None
    rank: int | None


@dataclass(frozen=True, kw_only=True)
class LogitLens(Result):
    """Every cell. sites: one for each column, from what enters the first layer to what leaves the last; rows: [token][column].

    tokens: the texts of the rows.
    """

    sites: tuple[str, ...]
    tokens: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def draw(self, theme: Theme = "light") -> Sheet:
        """The likeliest token of every cell, as dark as it is likely."""
        width = max(LEAST, min(132.0, (WIDEST - LABEL - GAP) / len(self.sites)))
        whole = LABEL + GAP + width * len(self.sites)
        sheet = Sheet(2 * MARGIN + max(WIDEST, int(whole)), theme)
        y = sheet.title("What the stream would say", "Logit lens: each stream through the final norm and the head.")
        grid = Grid(
            values=[[cell.guesses[0].probability for cell in row] for row in self.rows],
            rows=self.tokens,
            columns=[_column_name(site) for site in self.sites],
            scale="share",
            shown=lambda row, column: cut(self.rows[row][column].guesses[0].text, width - 6),
            box=(width, 22),
            widest=whole,
        )
        y = grid.draw(sheet, MARGIN, y) + 20
        ramp(sheet, MARGIN, y, "share", "0", "1: how likely the token is")
        sheet.caption(
            y + 16,
            "Rows are tokens; the last column is the output. Early columns are read with the eyes of the last layers: what a "
            "layer holds in another form does not show.",
        )
        return sheet


def lens_sites(model: Transformer, *, has_middle: bool = False) -> tuple[str, ...]:
    """The sites of the columns. has_middle: the stream between attention and the feed-forward layer too."""
    prefix, stack = prefix_of(model), model.main.config
    inside = ["end"]
    if has_middle and stack.placement != "parallel":
        inside = ["middle", *(["crossed"] if model.config.has_cross else []), "end"]
    ends = [f"{prefix}layers.{layer}.residual.{point}" for layer in range(stack.num_layers) for point in inside]
    return (f"{prefix}layers.0.residual.start", *ends)


@torch.inference_mode()
def logit_lens(
    model: Transformer, trace: Trace, words: Names, *, count: int = 1, row: int = 0, has_middle: bool = False
) -> LogitLens:
    """The lens over a whole pass. trace: with the sites of `lens_sites`. count: guesses of each cell; row: of the batch.

    Raises CutawayError for a count below 1.
    """
    check_count(count)
    ids = trace.ids[row].tolist()
    columns = lens_sites(model, has_middle=has_middle)
    next_ids: list[int | None] = [*ids[1:], None]
    if model.config.predicts == "masked" or model.config.decoder is None:
        next_ids = list(ids)  # a token is predicted at its own place
    cells = [_column(model, trace, words, site, row, next_ids, count) for site in columns]
    return LogitLens(sites=columns, tokens=tuple(words.text(i) for i in ids), rows=tuple(zip(*cells, strict=True)))


def _column(
    model: Transformer, trace: Trace, words: Names, site: str, row: int, next_ids: list[int | None], count: int
) -> list[Cell]:
    found: list[Cell] = []
    for states in trace[site][row : row + 1].split(BLOCK, dim=1):
        for chances in would_say(model, states)[0].cpu():
            token = next_ids[len(found)]
            actual = None if token is None else float(chances[token])
            rank = None if token is None else int((chances > chances[token]).sum())
            found.append(Cell(guesses=words.guesses(chances, count), actual=actual, rank=rank))
    return found


def _column_name(site: str) -> str:
    """layers.3.residual.middle -> "3 middle"; the end of a layer is its number alone."""
    words = site.split(".")
    layer, point = words[words.index("layers") + 1], words[-1]
    if point == "start":
        return "input"
    return f"layer {layer}" if point == "end" else f"{layer} {point}"
