"""A sheet to draw on. In: words, boxes, ribbons and lines at places in pixels. Out: a matplotlib Figure that fits them.

Places count from the top left. Colours say where a number comes from: blue was learned, green was computed from the text, and
orange is the place looked at, and nothing else. Sign and size are lightness, stronger farther from the page, in the light theme
as in the dark one; boxes have no borders, and nothing is rescaled to look busy.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ..errors import CutawayError
from .colour import PAPERS, Scale, Theme, contrast, shade

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONTS: Final = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
PIXELS: Final = 96  # to an inch
MARGIN: Final = 32
SMALL, TEXT, TITLE = 11, 13, 18
WIDTHS: Final = {SMALL: 5.6, TEXT: 6.6, TITLE: 9.6}
"""What a letter takes at most on average, in pixels: so captions break before the margin, whatever the font."""


class Sheet:
    """Grows downward as it is drawn on. width: in pixels, margins included; theme: light or dark.

    Raises CutawayError for another theme.
    """

    def __init__(self, width: int = 944 + 2 * MARGIN, theme: Theme = "light") -> None:
        if theme not in PAPERS:
            raise CutawayError(f"theme is {theme!r:.40}. Allowed: {', '.join(PAPERS)}.")
        # Before the import, which tells about its fonts on the first run of an account and about a home without room.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.theme, self.bottom = width, theme, 0.0
        self.paper = PAPERS[theme]
        self._figure = Figure(dpi=PIXELS, facecolor=self.paper.page)
        FigureCanvasAgg(self._figure)
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.fonts = _fonts()
        self.drawn = 0

    @property
    def figure(self) -> Figure:
        """The figure, as high as what was drawn on it."""
        height = self.bottom + MARGIN
        self._figure.set_size_inches(self.width / PIXELS, height / PIXELS)
        self.axes.set_xlim(0, self.width)
        self.axes.set_ylim(height, 0)
        return self._figure

    @property
    def room(self) -> int:
        """Pixels between the margins."""
        return self.width - 2 * MARGIN

    def next(self) -> int:
        """The order of drawing: what comes later lies above."""
        self.drawn += 1
        return self.drawn

    def title(self, words: str, under: str = "") -> float:
        """What the figure shows, and the numbers in one line. Returns the next free place."""
        self.text(MARGIN, MARGIN + 8, words, size=TITLE, colour=self.paper.ink, is_bold=True)
        y = MARGIN + 24
        return self.caption(y + 4, under, size=TEXT) + 20 if under else y + 20

    def caption(
        self, y: float, words: str, *, size: int = SMALL, x: float = MARGIN, room: float | None = None
    ) -> float:
        """A paragraph. Returns the next free place."""
        line = size + (5 if size == SMALL else 7)
        broken = textwrap.wrap(words, max(20, int((room or self.room) / WIDTHS[size])))
        for number, each in enumerate(broken):
            self.text(x, y + line * (number + 0.5), each, size=size)
        return self.reach(y + line * len(broken))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = TEXT,
        colour: str | None = None,
        align: str = "left",
        is_bold: bool = False,
    ) -> None:
        """Words whose middle line is at y; `$` and `_` are themselves, and what no font here has is its code in hex.

        colour: None for the ink of small words.
        """
        self.axes.text(
            x,
            y,
            self.legible(words),
            fontsize=size * 72 / PIXELS,
            fontfamily=self.fonts,
            color=self.paper.ink_2 if colour is None else colour,
            ha=align,
            va="center_baseline",
            fontweight="bold" if is_bold else "normal",
            parse_math=False,
            zorder=self.next(),
        )
        self.reach(y + size / 2)

    def legible(self, words: str) -> str:
        """The words, with ⟨6f22⟩ for a letter that no font here has."""
        if words.isascii():
            return words
        return "".join(letter if ord(letter) in self.letters else f"⟨{ord(letter):x}⟩" for letter in words)

    @cached_property
    def letters(self) -> frozenset[int]:
        """What the fonts have."""
        from matplotlib import font_manager

        faces = [font_manager.get_font(font_manager.findfont(name)) for name in self.fonts]
        return frozenset(code for face in faces for code in face.get_charmap())

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, has_frame: bool = False) -> None:
        """A filled box, or with has_frame an empty one."""
        from matplotlib.patches import Rectangle

        fill: dict[str, Any] = {"facecolor": colour, "linewidth": 0}
        if has_frame:
            fill = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.5 * 72 / PIXELS}
        self.axes.add_patch(Rectangle((x, y), width, height, zorder=self.next(), **fill))
        self.reach(y + height)

    def shade(self, scale: Scale, value: float) -> str:
        """The colour of a value, as `colour.shade` has it for this theme."""
        return shade(scale, value, self.theme)

    def on(self, colour: str) -> str:
        """Ink or page, whichever can be read on a colour."""
        return max((self.paper.ink, self.paper.page), key=lambda each: contrast(each, colour))

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: str | None = None, *, width: float = 1.0) -> None:
        """A line through points. colour: None for the faintest."""
        colour = self.paper.rule if colour is None else colour
        self.axes.plot(xs, ys, color=colour, linewidth=width * 72 / PIXELS, solid_capstyle="butt", zorder=self.next())
        self.reach(max(ys))

    def dots(self, xs: Sequence[float], ys: Sequence[float], colour: str, *, size: float = 6) -> None:
        """Points."""
        self.axes.scatter(xs, ys, s=(size * 72 / PIXELS) ** 2, c=colour, linewidths=0, zorder=self.next())
        self.reach(max(ys))

    def ribbon(
        self, start: tuple[float, float], end: tuple[float, float], width: float, colour: str, alpha: float
    ) -> None:
        """A thread of some width between two places, level at both. Places: the middle of its ends."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        (x0, y0), (x1, y1), half = start, end, width / 2
        middle = (x0 + x1) / 2
        upper = [(x0, y0 - half), (middle, y0 - half), (middle, y1 - half), (x1, y1 - half)]
        lower = [(x1, y1 + half), (middle, y1 + half), (middle, y0 + half), (x0, y0 + half)]
        curve = [Path.CURVE4] * 3
        path = Path([*upper, *lower, upper[0]], [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])
        self.axes.add_patch(PathPatch(path, facecolor=colour, alpha=alpha, linewidth=0, zorder=self.next()))
        self.reach(max(y0, y1) + half)

    def image(self, x: float, y: float, width: float, height: float, colours: Sequence[Sequence[str]]) -> None:
        """Many boxes as one picture. colours: [row][column]."""
        from matplotlib.colors import to_rgb

        rows = [[to_rgb(colour) for colour in row] for row in colours]
        place = (x, x + width, y + height, y)
        self.axes.imshow(rows, extent=place, interpolation="nearest", aspect="auto", zorder=self.next())
        self.reach(y + height)

    def reach(self, y: float) -> float:
        """Make the sheet reach down to y."""
        self.bottom = max(self.bottom, y)
        return y


def _fonts() -> list[str]:
    """Those of FONTS that are here, and then whatever else has letters that they lack."""
    from matplotlib import font_manager

    here = {font.name for font in font_manager.fontManager.ttflist}
    others = sorted(name for name in here if name.startswith(("Noto Sans CJK", "Noto Sans", "WenQuanYi", "Hiragino")))
    return [name for name in FONTS if name in here] + others[:8]
