"""The shapes that figures share. In: a sheet, a place and numbers. Out: a grid of boxes, rows of bars, a scale.

Rows are tokens, or layers where there are no tokens. A grid whose boxes are too small for words is drawn without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .colour import Scale
from .numerals import digits, number
from .sheet import SMALL, Sheet

LABEL, GAP = 80, 12
WIDEST, HIGHEST = 944, 1056
"""Pixels: what is larger gets smaller boxes."""
LETTER = 6.8
"""Pixels that a small letter takes at most on average: a grid in which some words need more than their box has none."""
LEAST = 14
"""Pixels: smaller boxes have no words in them. Boxes without words are drawn as one picture."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Boxes. values: [row][column], None for an empty box. shown: what is written in a box; None: nothing.

    scale, most: the colour of a value, divided by most. look: the row that is looked at. label: pixels for the rows' names.
    widest: what the whole may take.
    """

    values: Sequence[Sequence[float | None]]
    rows: Sequence[str]
    columns: Sequence[str]
    scale: Scale
    most: float = 1.0
    shown: Callable[[int, int], str] | None = None
    box: tuple[float, float] = (36, 22)
    look: int | None = None
    strong: frozenset[int] = frozenset()
    label: int = LABEL
    head: str = ""
    widest: float = WIDEST

    @property
    def width(self) -> float:
        """Pixels from the names of the rows to the last box."""
        return self.label + GAP + len(self.columns) * self.size[0]

    @property
    def size(self) -> tuple[float, float]:
        """Pixels of a box."""
        wide = min(self.box[0], (self.widest - self.label - GAP) / len(self.columns))
        high = self.box[1] if len(self.rows) * self.box[1] <= HIGHEST else max(1.0, HIGHEST / len(self.rows))
        return wide, high

    def draw(self, sheet: Sheet, x: float, y: float) -> float:
        """Draw it with its left upper corner there. Returns the next free place below."""
        wide, high = self.size
        left = x + self.label + GAP
        if self.head:
            sheet.text(left, y + 8, self.head, size=SMALL)
            y += 20
        for index in every(len(self.columns), wide, max(map(len, self.columns), default=1) * 6.4):
            x, faint = left + wide * (index + 0.5) - 1, sheet.paper.ink_3
            sheet.text(x, y + 8, self.columns[index], size=SMALL, colour=faint, align="center")
        top = y + 20
        for index in every(len(self.rows), high, 16):
            looked, plain = (sheet.paper.look, False), (sheet.paper.ink, index in self.strong)
            colour, is_bold = looked if index == self.look else plain
            name = cut(self.rows[index], self.label + GAP)
            sheet.text(left - GAP, top + high * (index + 0.5) - 1, name, colour=colour, align="right", is_bold=is_bold)
        (self._boxes if self.has_words else self._image)(sheet, left, top)
        return sheet.reach(top + high * len(self.rows))

    @property
    def has_words(self) -> bool:
        """Whether every box has room for what is written in it."""
        if self.shown is None or min(self.size) < LEAST:
            return False
        words = (self.shown(row, column) for row in range(len(self.rows)) for column in range(len(self.columns)))
        return max(map(len, words), default=0) * LETTER + 2 <= self.size[0]

    def colour(self, sheet: Sheet, row: int, column: int) -> str | None:
        """The colour of a box, None for an empty one."""
        value = self.values[row][column]
        return None if value is None else sheet.shade(self.scale, value / (self.most or 1.0))

    def _boxes(self, sheet: Sheet, left: float, top: float) -> None:
        wide, high = self.size
        for row in range(len(self.rows)):
            for column in range(len(self.columns)):
                colour = self.colour(sheet, row, column)
                x, y = left + column * wide, top + row * high
                if colour is not None:
                    sheet.box(x, y, wide - 2, high - 2, colour)
                words = "" if self.shown is None else self.shown(row, column)
                if words:
                    ink = None if colour is None else sheet.on(colour)
                    sheet.text(x + wide / 2 - 1, y + high / 2 - 1, words, size=SMALL, colour=ink, align="center")

    def _image(self, sheet: Sheet, left: float, top: float) -> None:
        (wide, high), columns, page = self.size, range(len(self.columns)), sheet.paper.page
        colours = [[self.colour(sheet, row, each) or page for each in columns] for row in range(len(self.rows))]
        sheet.image(left, top, wide * len(self.columns), high * len(self.rows), colours)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of bars. scale: whether it was learned or computed, None for both; look: whether it is the place looked at."""

    name: str
    value: float
    scale: Scale | None
    look: bool = False


def bars(
    sheet: Sheet,
    x: float,
    y: float,
    rows: Sequence[Bar],
    *,
    label: int,
    room: int,
    span: tuple[float, float] | None = None,
) -> float:
    """Rows of bars about a common zero; longer is stronger, to the left is negative. Returns the next free place.

    label: pixels for the names; room: for the bars and the numbers at their ends; span: the least and the largest value that
    there is room for, where several groups of bars share a scale; None: those of the rows.
    """
    values = [bar.value for bar in rows] if span is None else span
    lowest, highest, places = (
        -min(0.0, *values, 0.0),
        max(0.0, *values, 0.0),
        digits(max(map(abs, values), default=0.0)),
    )
    number_room, high = 52, 22 if len(rows) * 22 <= HIGHEST else max(2.0, HIGHEST / len(rows))
    sides = number_room * ((lowest > 0) + (highest > 0))
    unit = (room - sides) / ((lowest + highest) or 1.0)
    zero = x + label + GAP + (number_room + unit * lowest if lowest else 0)
    named = every(len(rows), high, LEAST)
    for index, bar in enumerate(rows):
        middle, length = y + high * (index + 0.5), bar.value * unit
        if index in named:
            ink = sheet.paper.look if bar.look else sheet.paper.ink
            sheet.text(x + label, middle, cut(bar.name, label + GAP), colour=ink, align="right")
        if high >= LEAST:
            side = -1 if bar.value < 0 else 1
            align = "right" if side < 0 else "left"
            words = number(bar.value, places)
            sheet.text(zero + length + 6 * side, middle, words, size=SMALL, align=align)
        colour = sheet.paper.rule_2 if bar.scale is None else sheet.shade(bar.scale, 0.5)
        thick = high - 8 if high >= LEAST else high - 1
        sheet.box(min(zero, zero + length), middle - thick / 2, max(abs(length), 0.75), thick, colour)
    sheet.line([zero, zero], [y, y + high * len(rows)], sheet.paper.rule_2)
    return sheet.reach(y + high * len(rows))


def ramp(sheet: Sheet, x: float, y: float, scale: Scale, low: str, high: str) -> float:
    """What light and dark stand for. Returns where it ends on the right."""
    sheet.text(x, y, low, size=SMALL)
    start = x + len(low) * 6.4 + 6
    steps = 33
    colours = [
        [sheet.shade(scale, at if scale == "share" else 2 * at - 1) for at in (i / (steps - 1) for i in range(steps))]
    ]
    sheet.image(start, y - 6, 64, 12, colours)
    sheet.text(start + 70, y, high, size=SMALL)
    return start + 70 + len(high) * 6.4


def cut(words: str, width: float) -> str:
    """Words that fit into a width, with … for what does not."""
    most = max(1, int(width / 7.2))
    return words if len(words) <= most else words[: most - 1] + "…"


def every(count: int, size: float, needed: float) -> range:
    """Which of so many rows have room for a name."""
    return range(0, count, max(1, -(-int(needed) // max(1, int(size)))) if size < needed else 1)
