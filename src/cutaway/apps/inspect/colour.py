"""The scales of the page. In: the scales of every figure (`lens.colour`). Out: their steps, for the page's script."""

from __future__ import annotations

from typing import Final

from ...lens.colour import SCALES as SCALES
from ...lens.colour import contrast as contrast
from ...lens.colour import mixed as mixed
from ...lens.colour import readable_on as readable_on

STEPS: Final = 32


def palettes() -> dict[str, dict[str, list[str]]]:
    """theme -> scale -> colours of 2 · STEPS + 1 equal steps from the scale's low end to its high one."""
    return {
        theme: {name: [mixed(stops, step / STEPS) for step in range(2 * STEPS + 1)] for name, stops in scales.items()}
        for theme, scales in SCALES.items()
    }
