"""The figures of lessons in characters. In: a figure and a rich console. Out: rows of cells; one function for each kind.

A strip is drawn one cell a number: the first that fit, from the least (blank) to the most (full) of its scale, as the page goes
from light to dark. Learned numbers are blue and computed ones green, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ...lens.numerals import chance, number
from ...lessons.figures import Bar, Bars, Curve, Figure, Images, Matrix, Pairs, Strip, Strips, Table
from ..inspect.characters import COMPUTED, LEARNED, LOOK, QUIET, SHADES, bar, fit, make_table, put
from ..inspect.colour import SCALES, mixed

SIGNED = ((0.8, "█"), (0.6, "▓"), (0.4, "▒"), (0.2, "░"))  # of the way from −scale to scale; 0 is in the middle of ▒
TONE = {"learned": LEARNED, "computed": COMPUTED}
LABEL, BAR, MOST_POINTS = 22, 28, 12
CELL = 5  # cells of a number in a matrix
MIDDLE = 16  # cells between the two sides of pairs
SIDE = 8  # pixels


def draw(figure: Figure, console: Console) -> None:
    """Print a figure of any kind."""
    for kind, drawer in DRAWERS:
        if isinstance(figure, kind):
            return drawer(figure, console)
    raise AssertionError(f"no drawing for the kind {figure.kind}")


def strips(figure: Strips, console: Console) -> None:
    """Vectors under each other."""
    label = _width([row.label for row in figure.rows])
    note = max(cell_len(row.note) for row in figure.rows)
    room = console.width - label - note - 7
    for row in figure.rows:
        cells = _cells(row, figure.scale, room, is_share=figure.is_share)
        _line(console, fit(row.label, label), "  ", cells, f"  {row.note}")
    _rest(console, max(len(row.values) for row in figure.rows), room)


def pairs(figure: Pairs, console: Console) -> None:
    """Two sides; a row is a line between them, with both of its ends."""
    label = _width([row.label for row in (*figure.left, *figure.right)])
    middle = max(MIDDLE, 2 + max(cell_len(link.text) for link in figure.links))
    room = (console.width - 2 * label - middle - 14) // 2
    head = (fit(figure.heads[0], label + room + 3), " " * (middle + 1), figure.heads[1])
    _line(console, Text("".join(head), QUIET))
    for link in figure.links:
        left, right = figure.left[link.left], figure.right[link.right]
        rule = "─" if link.is_equal else "╌"
        said = f" {link.text} ".center(middle, rule)
        ends = [Text(f"{place} ", QUIET) for place in (link.left, link.right)]
        one, other = (_cells(side, figure.scale, room, is_share=False) for side in (left, right))
        _line(console, ends[0], fit(left.label, label), " ", one, " ", said, " ", ends[1], other, " ", right.label)
    _rest(console, len(figure.left[0].values), room)


def matrix(figure: Matrix, console: Console) -> None:
    """Numbers where they fit, and else shades, two cells each."""
    label = _width(figure.rows)
    widths = [[min(most, cell_len(name)) for name in figure.columns] for most in (9, 7, 5)]
    fitting = [each for each in widths if label + sum(max(CELL, width) + 2 for width in each) + 4 <= console.width]
    if not fitting:
        return _shaded(figure, label, console)
    columns = [fit(name, width) for name, width in zip(figure.columns, fitting[0], strict=True)]
    table = make_table("<", *(f">{name}" for name in columns))
    for name, values in zip(figure.rows, figure.values, strict=True):
        table.add_row(fit(name, label), *(_number(value, figure) for value in values))
    put(console, table)
    return None


def bars(figure: Bars, console: Console) -> None:
    """A bar a row, from zero to the right, or to the left where it is negative."""
    label = _width([row.label for row in figure.rows])
    has_left = any(row.value < 0 for row in figure.rows)
    text = max(cell_len(row.text) for row in figure.rows)
    width = min(44, console.width - label - text - 8) // (2 if has_left else 1)
    for row in figure.rows:
        style = LOOK if row.is_looked else ""
        _line(
            console,
            Text(fit(row.label, label), style),
            "  ",
            *_bar(row, figure.scale, width, has_left),
            f"  {row.text}",
        )


def table(figure: Table, console: Console) -> None:
    """Cells of text, that in the frame in orange."""
    heads = [head if head.startswith(">") else f"<{head}" for head in figure.heads]
    drawn = make_table(*heads)
    for at, row in enumerate(figure.rows):
        drawn.add_row(*(Text(cell, LOOK if (at, column) == figure.looked else "") for column, cell in enumerate(row)))
    put(console, drawn)


def images(figure: Images, console: Console) -> None:
    """A grid of images: half blocks where there is colour, else a shade a pixel; as many columns as fit."""
    label = _width(figure.rows)
    most = max(1, (console.width - label - 4) // (SIDE + 1))
    count = len(figure.columns)
    each = -(-count // -(-count // most))  # as many in every row of the grid
    for start in range(0, count, each):
        shown = slice(start, start + each)
        if start:
            console.print()
        heads = "".join(fit(name, SIDE) + " " for name in figure.columns[shown])
        _line(console, Text(" " * (label + 2) + heads, QUIET))
        for at, (name, row) in enumerate(zip(figure.rows, figure.values, strict=True)):
            if at:
                console.print()
            _images_row(name, row[shown], label, console)


def curve(figure: Curve, console: Console) -> None:
    """The points as a table, with a bar for each value where there are one or two lines."""
    top = max(max(abs(y) for _, y in line.points) for line in figure.lines) or 1.0
    has_bars = len(figure.lines) <= 2
    heads = [head for line in figure.lines for head in ((f">{line.label}", "<") if has_bars else (f">{line.label}",))]
    drawn = make_table(f">{figure.x}", *heads)
    for at in _few(len(figure.lines[0].points)):
        cells: list[Text | str] = [f"{figure.lines[0].points[at][0]:,.4g}"]
        for line in figure.lines:
            y = line.points[at][1]
            cells.append(chance(y) if figure.is_share else number(y))
            cells += [bar(abs(y) / top, BAR // len(figure.lines), TONE[line.role])] * has_bars
        drawn.add_row(*cells)
    put(console, drawn)


DRAWERS: tuple[tuple[type[Figure], Callable[[Any, Console], None]], ...] = (
    (Strips, strips),
    (Matrix, matrix),
    (Bars, bars),
    (Table, table),
    (Images, images),
    (Curve, curve),
    (Pairs, pairs),
)


def _few(count: int) -> list[int]:
    """Indices of at most MOST_POINTS points, the first and the last among them."""
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})


def _cells(strip: Strip, scale: float, room: int, *, is_share: bool) -> Text:
    return Text("".join(_ink(value, scale, is_share=is_share) for value in strip.values[:room]), TONE[strip.role])


def _ink(value: float, scale: float, *, is_share: bool) -> str:
    """A value as a cell: from 0 to the scale, or from −scale to scale."""
    share, steps = (value / scale, SHADES) if is_share else ((value / scale + 1) / 2, SIGNED)
    return next((block for least, block in steps if share >= least), " ")


def _rest(console: Console, length: int, room: int) -> None:
    if length > room:
        _line(console, Text(f"the first {room} of {length} numbers, blank the least and █ the most", QUIET))


def _number(value: float | None, figure: Matrix) -> Text:
    if value is None:
        return Text("·", QUIET)
    return Text(number(value, figure.digits), TONE[figure.role])


def _shaded(figure: Matrix, label: int, console: Console) -> None:
    room = (console.width - label - 6) // 2
    for name, values in zip(figure.rows, figure.values, strict=True):
        line = Text()
        for value in values[:room]:
            if value is None:
                line.append("· ", QUIET)
            else:
                line.append(_ink(value, figure.scale, is_share=figure.is_share) * 2, TONE[figure.role])
        _line(console, fit(name, label), "  ", line)
    steps = reversed(SHADES[:-1] if figure.is_share else SIGNED)
    said = ", ".join(
        f"{block} {number((least if figure.is_share else 2 * least - 1) * figure.scale)}" for least, block in steps
    )
    cut = f"; the first {room} of {len(figure.columns)} columns" if len(figure.columns) > room else ""
    _line(console, Text(f"from {said}{cut}", QUIET))


def _bar(row: Bar, scale: float, width: int, has_left: bool) -> list[Text | str]:
    share, tone = min(abs(row.value) / scale, 1.0), TONE[row.role]
    right = bar(share if row.value >= 0 else 0.0, width, tone)
    right.append(" " * (width - cell_len(right.plain)))
    if not has_left:
        return [right]
    filled = max(round(share * width), 1) if row.value < 0 else 0
    return [Text(" " * (width - filled) + "█" * filled, tone), Text("│", QUIET), right]


def _images_row(name: str, row: Sequence[Sequence[float]], label: int, console: Console) -> None:
    """One row of images, drawn line by line."""
    has_colour = console.color_system in ("truecolor", "256")
    for y in range(0, SIDE, 2 if has_colour else 1):
        line = Text(fit(name if y == 0 else "", label) + "  ")
        for pixels in row:
            for x in range(SIDE):
                upper, lower = (pixels[min(at, SIDE - 1) * SIDE + x] for at in (y, y + 1))
                if has_colour:
                    line.append("▀", f"{_colour(upper)} on {_colour(lower)}")
                else:
                    line.append(_ink(upper, 1.0, is_share=True))
            line.append(" ")
        _line(console, line)


def _colour(share: float) -> str:
    return mixed(SCALES["light"]["share"], 2 * min(max(share, 0.0), 1.0))


def _width(labels: Sequence[str]) -> int:
    return min(LABEL, max(cell_len(label) for label in labels))


def _line(console: Console, *parts: Text | str) -> None:
    console.print(Padding(Text.assemble(*parts), (0, 0, 0, 2), expand=False), no_wrap=True, overflow="ellipsis")
