"""The loom: a rollout as a picture. In: shares of tokens column by column, and threads. Out: ribbons on a sheet.

Rows are tokens, columns are depths. The height of a box is the share of the vector looked at that its token holds there, the
width of a thread is the share that flows along it, on one scale: every column adds up to 1. Of many tokens the strongest keep a
row, and all others share one, with their threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .charts import cut, every
from .numerals import chance
from .sheet import SMALL, Sheet

ROW, WHOLE, BOX = 28, 38, 20
"""Pixels: a row, a share of 1, and the width of a box."""
MOST_ROWS = 28

Threads = Sequence[tuple[int, int, float]]
"""(origin, to, share) of one layer."""


@dataclass(kw_only=True)
class Loom:
    """One stack. shares: [column][token]; threads: of each layer; look: the token and column in the frame, or none.

    begin, pitch: pixels at the left edge of the first column, and between columns. crossed: (column, row) -> the share that
    came in from another loom, drawn above what this one's threads bring.
    """

    tokens: Sequence[str]
    shares: Sequence[Sequence[float]]
    threads: Sequence[Threads]
    names: Sequence[str]
    look: tuple[int, int] | None
    begin: float
    pitch: float
    top: float = 0.0
    rows: dict[int, int] = field(default_factory=dict)
    heights: list[list[float]] = field(default_factory=list)
    crossed: dict[tuple[int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = strongest(self.shares, MOST_ROWS, None if self.look is None else self.look[0])
        folded = len(kept) < len(self.tokens)
        self.rows = {token: place + folded for place, token in enumerate(kept)}
        count = len(kept) + folded
        self.heights = [[0.0] * count for _ in self.shares]
        for column, shares in enumerate(self.shares):
            for token, share in enumerate(shares):
                self.heights[column][self.row(token)] += share

    def row(self, token: int) -> int:
        """The row of a token; the first is for all that have none of their own."""
        return self.rows.get(token, 0)

    @property
    def bottom(self) -> float:
        """Where the last row ends."""
        return self.top + 24 + ROW * len(self.heights[0])

    def middle(self, row: int) -> float:
        """Where a row is."""
        return self.top + 24 + ROW * (row + 0.5)

    def left(self, column: int) -> float:
        """Where a column begins."""
        return self.begin + self.pitch * column

    def draw(self, sheet: Sheet, top: float) -> float:
        """Names, threads, boxes. Returns the next free place."""
        self.top = top
        named, paper = {row: self.tokens[token] for token, row in self.rows.items()}, sheet.paper
        for column in every(len(self.names), self.pitch, 52):
            name = self.names[column]
            sheet.text(self.left(column) + BOX / 2, top + 8, name, size=SMALL, colour=paper.ink_3, align="center")
        for row in range(len(self.heights[0])):
            y = self.middle(row)
            words = named.get(row, f"{len(self.tokens) - len(self.rows):,} others")
            is_looked_at = self.look is not None and row == self.row(self.look[0])
            ink = paper.look if is_looked_at else paper.ink
            sheet.line([self.left(0), self.left(len(self.names) - 1)], [y, y])
            sheet.text(self.begin - 74, y, cut(words, 100), colour=ink, align="right")
            sheet.text(self.begin - 12, y, chance(self.heights[0][row]), size=SMALL, align="right")
        for layer, threads in enumerate(self.threads):
            self._threads(sheet, layer, threads)
        for column, heights in enumerate(self.heights):
            for row, share in enumerate(heights):
                self._box(sheet, column, row, share)
        return sheet.reach(self.bottom)

    def _threads(self, sheet: Sheet, layer: int, threads: Threads) -> None:
        flows: dict[tuple[int, int], float] = {}
        for origin, to, share in threads:
            pair = self.row(origin), self.row(to)
            flows[pair] = flows.get(pair, 0.0) + share
        leaving = stacked(self.heights[layer], flows, by=0)
        above = [self.crossed.get((layer + 1, row), 0.0) for row in range(len(self.heights[0]))]
        arriving = stacked(self.heights[layer + 1], flows, by=1, above=above)
        for (origin, to), share in sorted(flows.items(), key=lambda item: item[1], reverse=True):
            start = self.left(layer) + BOX, self.middle(origin) + WHOLE * leaving[origin, to]
            end = self.left(layer + 1), self.middle(to) + WHOLE * arriving[origin, to]
            thread, straight = sheet.shade("share", 0.5), origin == to
            sheet.ribbon(start, end, max(0.5, WHOLE * share), thread, 0.32 if straight else 0.75)

    def _box(self, sheet: Sheet, column: int, row: int, share: float) -> None:
        high = max(3.0 if share > 0 else 0.0, WHOLE * share)
        x, y = self.left(column), self.middle(row) - high / 2
        if high:
            sheet.box(x, y, BOX, high, sheet.shade("share", 0.78))
        if self.look is not None and (self.row(self.look[0]), self.look[1]) == (row, column):
            sheet.box(x - 1, y - 1, BOX + 2, high + 2, sheet.paper.look, has_frame=True)


def strongest(shares: Sequence[Sequence[float]], most: int, look: int | None) -> list[int]:
    """The tokens with the largest shares in any column, in the order of the text; the one looked at is among them."""
    count = len(shares[0])
    if count <= most:
        return list(range(count))
    peaks = [max(column[token] for column in shares) for token in range(count)]
    order = sorted(range(count), key=lambda token: (token != look, -peaks[token]))
    return sorted(order[: most - 1])


def stacked(
    heights: Sequence[float], flows: Mapping[tuple[int, int], float], *, by: int, above: Sequence[float] = ()
) -> dict[tuple[int, int], float]:
    """The middle of each thread's end within its box, as a share from the box's middle. by: 0 at the origin, 1 at the end.

    above: what is taken at the top of each box.
    """
    offsets: dict[tuple[int, int], float] = {}
    used = [-height / 2 + taken for height, taken in zip(heights, above or [0.0] * len(heights), strict=True)]
    for pair in sorted(flows, key=lambda pair: (pair[by], pair[1 - by])):
        offsets[pair] = used[pair[by]] + flows[pair] / 2
        used[pair[by]] += flows[pair]
    return offsets


def cross(sheet: Sheet, upper: Loom, lower: Loom, crossings: Sequence[Threads]) -> None:
    """The threads from the last column of one loom into the layers of another. Both have their places; `lower` is drawn after."""
    last = len(upper.shares) - 1
    used = [-height / 2 for height in upper.heights[last]]
    for layer, threads in enumerate(crossings):
        for origin, to, share in threads:
            start, end = upper.row(origin), lower.row(to)
            column = layer + 1
            taken = lower.crossed.get((column, end), 0.0)
            aim = lower.middle(end) + WHOLE * (taken + share / 2 - lower.heights[column][end] / 2)
            place = upper.left(last) + BOX, upper.middle(start) + WHOLE * (used[start] + share / 2)
            sheet.ribbon(place, (lower.left(column), aim), max(0.5, WHOLE * share), sheet.shade("share", 0.5), 0.55)
            lower.crossed[column, end] = taken + share
            used[start] += share
