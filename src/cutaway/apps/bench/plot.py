"""The roofline as a picture. In: what was measured. Out: the limits of the machine, and how near reading and writing come.

Across: operations for each byte moved; upward: operations a second; both logarithmic (Williams et al. 2009, figure 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...lens.colour import Theme
from ...lens.numerals import chance
from ...lens.result import Result
from ...lens.sheet import MARGIN, Sheet

WIDTH, HEIGHT, LEFT = 620.0, 300.0, 64.0
LINE, LABEL = 15.0, 130.0  # a label: how high, how wide
GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Point:
    """intensity: operations a byte. rate: operations a second. share: of the limit there. bits: of a weight."""

    name: str
    intensity: float
    rate: float
    share: float
    bits: int


@dataclass(frozen=True, kw_only=True)
class Roofline(Result):
    """read: bytes a second of the memory. peaks: operations a second of the cores, by the bits of a weight."""

    model: str
    read: float
    peaks: Mapping[int, float]
    points: tuple[Point, ...]

    @property
    def peak(self) -> float:
        """The highest of the peaks."""
        return max(self.peaks.values())

    def draw(self, theme: Theme = "light") -> Sheet:
        """The limits as lines, one for each peak, a dot for each kind of pass and precision, and what it lacks."""
        sheet = Sheet(width=round(LEFT + WIDTH) + 2 * MARGIN + 60, theme=theme)
        top = sheet.title(
            f"How near {self.model} comes to what this machine can do",
            f"Memory {self.read / GIGA:,.1f} GB/s, arithmetic {self.peak / GIGA:,.0f} GFLOP/s at most, both measured. "
            "At each dot: its share of the limit.",
        )
        frame = _Frame(self, MARGIN + LEFT, top + 26)
        frame.axes(sheet)
        for peak in set(self.peaks.values()):
            roof = [(frame.low, frame.low * self.read), (peak / self.read, peak), (frame.high, peak)]
            sheet.line(*frame.path(roof), sheet.paper.ink_3)
        dots, labels = [frame.place(point) for point in self.points], list[tuple[float, float]]()
        for point in sorted(self.points, key=lambda point: -point.rate):
            most = min(self.peaks[point.bits], point.intensity * self.read)
            sheet.line(*frame.path([(point.intensity, point.rate), (point.intensity, most)]), sheet.paper.rule_2)
            x, y = frame.place(point)
            sheet.dots([x], [y], sheet.shade("computed", 0.7), size=9)
            left = min(x + 10, frame.left + WIDTH - LABEL)
            y += LINE if left < x else 0
            while any(abs(y - high) < LINE and left - 8 < at < left + LABEL for at, high in dots) or any(
                abs(y - high) < LINE and abs(left - at) < LABEL for at, high in labels
            ):
                y += LINE
            labels.append((left, y))
            sheet.text(left, y, f"{point.name}: {chance(point.share)}")
        sheet.reach(frame.top + HEIGHT + 44)
        return sheet


class _Frame:
    """Where values lie on the sheet."""

    def __init__(self, roofline: Roofline, left: float, top: float) -> None:
        self.left, self.top = left, top
        xs = [
            *(peak / roofline.read for peak in roofline.peaks.values()),
            *(point.intensity for point in roofline.points),
        ]
        self.low, self.high = 10 ** math.floor(math.log10(min(xs) / 2)), 10 ** math.ceil(math.log10(max(xs) * 2))
        ys = [roofline.peak, self.low * roofline.read, *(point.rate for point in roofline.points)]
        self.least, self.most = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))

    def path(self, places: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
        """Pixels of places (operations a byte, operations a second)."""
        xs = [self.left + WIDTH * _part(x, self.low, self.high) for x, _ in places]
        return xs, [self.top + HEIGHT * (1 - _part(y, self.least, self.most)) for _, y in places]

    def place(self, point: Point) -> tuple[float, float]:
        """Pixels of its dot."""
        (x,), (y,) = self.path([(point.intensity, point.rate)])
        return x, y

    def axes(self, sheet: Sheet) -> None:
        """Lines at powers of ten, with their values."""
        for exponent in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1):
            xs, ys = self.path([(10.0**exponent, self.least), (10.0**exponent, self.most)])
            sheet.line(xs, ys)
            sheet.text(xs[0], ys[0] + 14, f"{10.0**exponent:g}", align="center")
        for exponent in range(round(math.log10(self.least)), round(math.log10(self.most)) + 1):
            xs, ys = self.path([(self.low, 10.0**exponent), (self.high, 10.0**exponent)])
            sheet.line(xs, ys)
            sheet.text(xs[0] - 8, ys[0], f"{10.0**exponent / GIGA:g}", align="right")
        sheet.text(self.left + WIDTH / 2, self.top + HEIGHT + 34, "operations for each byte moved", align="center")
        sheet.text(self.left - LEFT, self.top - 20, "GFLOP/s")


def _part(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)
