"""Positions in plain Python floats. Slow twins of `cutaway.model.position`."""

from __future__ import annotations

import cmath
import math


def sinusoid(position: int, place: int, width: int) -> float:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(…): Vaswani et al. 2017 §3.5."""
    angle = position / 10000 ** ((place - place % 2) / width)
    return math.cos(angle) if place % 2 else math.sin(angle)


def turned(x: list[float], position: int, *, base: float, d_rotated: int, is_interleaved: bool) -> list[float]:
    """Each pair as one complex number, times e^(i · position · base^(−2j/d)): Su et al. 2021, eq. 12 and 34."""
    half, out = d_rotated // 2, list(x)
    for pair in range(half):
        first, second = (2 * pair, 2 * pair + 1) if is_interleaved else (pair, pair + half)
        angle = position * base ** (-2 * pair / d_rotated)
        number = complex(x[first], x[second]) * cmath.exp(1j * angle)
        out[first], out[second] = number.real, number.imag
    return out
