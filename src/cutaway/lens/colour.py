"""The colours of every figure. In: a value or a part of the page. Out: its colour, for light and for dark.

Colours say where a number comes from: blue was learned, green was computed, and orange is the place looked at. A scale runs
through three colours, linear in the value, mixed in OKLCH (Ottosson 2020), in which equal steps look equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Theme = Literal["light", "dark"]
Scale = Literal["learned", "computed", "share"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What is no number. page: behind all; ink: words, from strong to faint; rule: lines; look: the place looked at, alone."""

    page: str
    ink: str
    ink_2: str
    ink_3: str
    rule: str
    rule_2: str
    look: str


PAPERS: Final[dict[Theme, Paper]] = {
    "light": Paper(
        page="#fbfbf9", ink="#191b1d", ink_2="#50565b", ink_3="#6b7176", rule="#e5e5e0", rule_2="#bfc1bb", look="#c2410c"
    ),
    "dark": Paper(
        page="#131416", ink="#e9e9e5", ink_2="#abafb2", ink_3="#888d91", rule="#292b2e", rule_2="#4a4e52", look="#ff9159"
    ),
}  # fmt: skip
SCALES: Final = {
    "light": {
        "learned": ("#f1f4fd", "#a6bcf5", "#1e339b"),
        "computed": ("#eef7f2", "#99d1b4", "#004a30"),
        "share": ("#f7faf8", "#61b990", "#004a30"),
    },
    "dark": {
        "learned": ("#1a1e28", "#364c8c", "#dae4ff"),
        "computed": ("#18201c", "#2c5843", "#c2f2d8"),
        "share": ("#191d1b", "#39785b", "#b5f2d2"),
    },
}
TEXT: Final = ("#000000", "#ffffff")
_TO_LMS: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_FROM_LAB: Final = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_FROM_LMS: Final = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


def shade(scale: Scale, value: float, theme: Theme = "light") -> str:
    """The colour of a value: signed from −1 to 1 for learned and computed, from 0 to 1 for a share; beyond, its end."""
    place = 2 * value if scale == "share" else value + 1
    return mixed(SCALES[theme][scale], min(max(place, 0.0), 2.0))


def mixed(stops: Sequence[str], place: float) -> str:
    """The colour at `place`, from 0 at the first of three stops over 1 at the second to 2 at the third."""
    index = min(int(place), 1)
    return _hex(_between(_oklch(stops[index]), _oklch(stops[index + 1]), place - index))


def readable_on(background: str) -> str:
    """Black or white, whichever has more contrast (WCAG 2.2) on the background."""
    return max(TEXT, key=lambda text: contrast(text, background))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _between(one: Sequence[float], other: Sequence[float], share: float) -> list[float]:
    turn = (other[2] - one[2] + math.pi) % (2 * math.pi) - math.pi
    targets = (other[0], other[1], one[2] + turn)
    return [start + (end - start) * share for start, end in zip(one, targets, strict=True)]


def _oklch(colour: str) -> list[float]:
    cones = [math.cbrt(value) for value in _times(_TO_LMS, _linear(colour))]
    light, a, b = _times(_TO_LAB, cones)
    return [light, math.hypot(a, b), math.atan2(b, a)]


def _hex(oklch: Sequence[float]) -> str:
    light, chroma, hue = oklch
    cones = _times(_FROM_LAB, (light, chroma * math.cos(hue), chroma * math.sin(hue)))
    linear = _times(_FROM_LMS, [value**3 for value in cones])
    return "#" + "".join(f"{round(255 * _encoded(value)):02x}" for value in linear)


def _linear(colour: str) -> list[float]:
    values = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def _encoded(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _luminance(colour: str) -> float:
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
