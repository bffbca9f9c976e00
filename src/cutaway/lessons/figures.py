"""What a lesson draws: a closed set of kinds that a page and a terminal can draw. In: numbers and labels. Out: frozen figures.

strips (labelled rows of numbers) · matrix · bars · table · images (8 × 8) · curve · pairs (strips on two sides, joined)

Every figure says where its numbers come from: `role` is "learned" (they stand in the weights) or "computed" (they follow from
the text), `source` is a site, or the equation. `scale` is the value that is drawn strongest; it never depends on the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Role = Literal["learned", "computed"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What all kinds have. title: a few words above; caption: what is drawn and what it is not; source: site or equation."""

    kind: ClassVar[str]
    title: str = ""
    caption: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A vector as a row of cells. note: a few words behind it."""

    label: str
    values: tuple[float, ...]
    role: Role = "computed"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Strips(Figure):
    """Vectors under each other, so that a dimension stands under itself. is_share: from 0 to `scale`, else −scale to scale."""

    kind: ClassVar[str] = "strips"
    rows: tuple[Strip, ...]
    scale: float
    is_share: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix(Figure):
    """values: [row][column], None where there is none (a token that may not be seen). digits: how many are written out."""

    kind: ClassVar[str] = "matrix"
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    role: Role = "computed"
    scale: float = 1.0
    is_share: bool = True
    digits: int = 2


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, to the right of zero or to its left. text: the value as it is written; is_looked: the one that is spoken of."""

    label: str
    value: float
    text: str
    role: Role = "computed"
    is_looked: bool = False


@dataclass(frozen=True, kw_only=True)
class Bars(Figure):
    """Bars of one scale: `scale` takes the whole length."""

    kind: ClassVar[str] = "bars"
    rows: tuple[Bar, ...]
    scale: float


@dataclass(frozen=True, kw_only=True)
class Table(Figure):
    """Cells of text.

    A head that begins with > stands over a column of numbers. looked: (row, column) of the cell in the frame.
    """

    kind: ClassVar[str] = "table"
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    looked: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Images(Figure):
    """A grid of 8 × 8 images. values: [row][column][64], from 0 (paper) to 1 (ink), row by row from the top."""

    kind: ClassVar[str] = "images"
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a curve. points: (x, y), by rising x."""

    label: str
    points: tuple[tuple[float, float], ...]
    role: Role = "computed"


@dataclass(frozen=True, kw_only=True)
class Curve(Figure):
    """Lines over one axis. x, y: what the axes are; is_share: y is written as a percentage."""

    kind: ClassVar[str] = "curve"
    x: str
    y: str
    lines: tuple[Line, ...]
    is_share: bool = False


@dataclass(frozen=True, kw_only=True)
class Link:
    """A line from a strip on the left to one on the right. text: what it says; is_equal: drawn solid, else dotted."""

    left: int
    right: int
    text: str
    is_equal: bool


@dataclass(frozen=True, kw_only=True)
class Pairs(Figure):
    """Two columns of strips. heads: the title of each column; scale: as in Strips."""

    kind: ClassVar[str] = "pairs"
    heads: tuple[str, str]
    left: tuple[Strip, ...]
    right: tuple[Strip, ...]
    links: tuple[Link, ...]
    scale: float


KINDS: tuple[type[Figure], ...] = (Strips, Matrix, Bars, Table, Images, Curve, Pairs)
