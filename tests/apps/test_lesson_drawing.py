"""The figures of lessons in characters: each kind, cell by cell, on small figures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cutaway.apps.inspect.characters import COMPUTED, LEARNED
from cutaway.apps.lessons.drawing import draw
from cutaway.lessons.figures import (
    KINDS,
    Bar,
    Bars,
    Curve,
    Figure,
    Images,
    Line,
    Link,
    Matrix,
    Pairs,
    Strip,
    Strips,
    Table,
)


def drawn(figure: Figure, width: int = 80, *, has_colour: bool = False) -> list[str]:
    console = Console(
        width=width,
        record=True,
        file=io.StringIO(),
        color_system="truecolor" if has_colour else None,
        force_terminal=True,
    )
    draw(figure, console)
    if has_colour:  # as HTML: rich keeps the first escape codes that a style was ever written with
        return console.export_html(inline_styles=True, code_format="{code}").splitlines()
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_strip_goes_from_blank_to_full_and_has_zero_in_the_middle() -> None:
    values = (-1.0, -0.5, 0.0, -0.1, 0.1, 0.5, 1.0, 3.0)
    strips = Strips(rows=(Strip(label="a", values=values, note="length 3"),), scale=1.0)
    assert drawn(strips) == ["  a   ░▒▒▒▓██  length 3"]
    shares = Strips(rows=(Strip(label="a", values=(0.0, 0.1, 0.3, 0.6, 0.9)),), scale=1.0, is_share=True)
    assert drawn(shares) == ["  a   ░▒▓█"]


def test_a_strip_that_does_not_fit_says_how_much_is_shown() -> None:
    strips = Strips(rows=(Strip(label="a", values=(1.0,) * 100),), scale=1.0)
    assert drawn(strips)[1] == "  the first 72 of 100 numbers, blank the least and █ the most"


def test_colours_say_where_numbers_come_from() -> None:
    for role, tone in (("learned", LEARNED), ("computed", COMPUTED)):
        strips = Strips(rows=(Strip(label="a", values=(1.0,), role=role),), scale=1.0)  # type: ignore[arg-type]
        assert f"color: {tone}" in drawn(strips, has_colour=True)[0]


def test_a_matrix_has_numbers_where_they_fit() -> None:
    matrix = Matrix(rows=("x", "y"), columns=("one", "two"), values=((1.0, None), (-0.25, 0.5)))
    assert drawn(matrix) == ["       one   two", "  x   1.00     ·", "  y  −0.25  0.50"]


@pytest.mark.parametrize(
    ("is_share", "cells", "said"),
    [
        (True, "██  · ", "from ░ 0.10, ▒ 0.50, ▓ 1.00, █ 1.50"),
        (False, "██▒▒· ", "from ░ −1.20, ▒ −0.40, ▓ 0.40, █ 1.20"),
    ],
)
def test_a_wide_matrix_is_shaded_and_says_by_how_much(is_share: bool, cells: str, said: str) -> None:
    values = (2.0, 0.0, None, *(0.0,) * 37)
    matrix = Matrix(
        rows=("x",), columns=tuple(f"c{i}" for i in range(40)), values=(values,), scale=2.0, is_share=is_share
    )
    found = drawn(matrix)
    assert found[0].startswith(f"  x  {cells}".rstrip())
    assert found[1] == f"  {said}; the first 36 of 40 columns"


def test_bars_go_both_ways_from_zero() -> None:
    rows = (Bar(label="up", value=1.0, text="1.0"), Bar(label="down", value=-0.5, text="−0.5"))
    up, down = drawn(Bars(rows=rows, scale=1.0))
    assert up == "  up    " + " " * 22 + "│" + "█" * 22 + "  1.0"
    assert down == "  down  " + " " * 11 + "█" * 11 + "│" + " " * 22 + "  −0.5"
    assert drawn(Bars(rows=rows[:1], scale=2.0)) == ["  up  " + "█" * 22 + " " * 22 + "  1.0"]


def test_a_table_stands_under_its_heads() -> None:
    table = Table(heads=("word", ">count"), rows=(("a", "10"), ("bc", "2")), looked=(0, 1))
    assert drawn(table) == ["  word  count", "  a        10", "  bc        2"]


def test_images_are_drawn_pixel_by_pixel_and_wrap_evenly() -> None:
    image = tuple(1.0 if at % 9 == 0 else 0.0 for at in range(64))
    images = Images(rows=("r",), columns=tuple("0123456789"), values=((image,) * 10,))
    found = drawn(images)
    assert len(found) == 2 * 9 + 1
    assert found[0].split() == list("01234")
    assert found[1] == "  r  " + " ".join(["█" + " " * 7] * 5).rstrip()
    assert found[8] == "     " + " ".join([" " * 7 + "█"] * 5)
    coloured = drawn(images, has_colour=True)
    assert len(coloured) == 2 * 5 + 1
    assert coloured[1].count("▀") == 40


def test_a_curve_keeps_its_first_and_last_points() -> None:
    points = tuple((float(x), x / 100) for x in range(101))
    found = drawn(Curve(x="step", y="share", lines=(Line(label="a", points=points),), is_share=True))
    assert len(found) == 13
    assert found[1].split() == ["0", "0", "%"]
    assert found[-1].split() == ["100", "100", "%", "█" * 28]
    three = tuple(Line(label=name, points=points[:2]) for name in "abc")
    assert drawn(Curve(x="x", y="y", lines=three)) == [
        "  x     a     b     c",
        "  0  0.00  0.00  0.00",
        "  1  0.01  0.01  0.01",
    ]


def test_pairs_are_joined_by_what_they_say() -> None:
    strip = Strip(label="w", values=(1.0, -1.0))
    pairs = Pairs(
        heads=("one", "other"),
        left=(strip, strip),
        right=(strip, strip),
        links=(
            Link(left=0, right=1, text="equal", is_equal=True),
            Link(left=1, right=0, text="differs", is_equal=False),
        ),
        scale=1.0,
    )
    found = drawn(pairs)
    assert found[1] == "  0 w █  ──── equal ───── 1 █  w"
    assert found[2] == "  1 w █  ╌╌╌ differs ╌╌╌╌ 0 █  w"


def test_a_kind_without_a_drawing_is_noticed() -> None:
    class Other(Figure):
        kind = "other"

    with pytest.raises(AssertionError, match="no drawing for the kind other"):
        draw(Other(), Console(file=io.StringIO()))
    assert len({kind.kind for kind in KINDS}) == len(KINDS) == 7
