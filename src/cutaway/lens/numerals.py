"""Numbers as a person reads them. In: values. Out: text, in the forms of the microscope.

A minus is U+2212, a chance is "19 %", a weight is 0.79, what is left by rounding is 3 × 10⁻⁷.
"""

from __future__ import annotations

import math

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 2) -> str:
    """A signed number; what rounds to zero has no sign."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else f"{0:.{digits}f}"


def digits(most: float) -> int:
    """Decimals with which the largest of some numbers has two figures at least: 2 from 0.1 on, 3 from 0.01 on, and at most 6."""
    if not 0 < most < 0.095:
        return 2
    return min(6, 1 - math.floor(math.log10(most)))


def quoted(words: str) -> str:
    """A token within a sentence: “.”."""
    return f"“{words}”"


def chance(share: float) -> str:
    """A share as a percentage with two figures: 19 %, 6.0 %, 0.04 %."""
    percent = 100 * share
    if percent < 0.005:
        return "< 0.01 %" if percent else "0 %"
    if percent < 0.995:
        return f"{percent:.2f} %" if percent < 0.095 else f"{percent:.1f} %"
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def count(number_of: int, one: str, many: str = "") -> str:
    """1 token, 1,024 tokens."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def small(value: float) -> str:
    """A size that may be tiny: 0, 3 × 10⁻⁷, 0.02, 1.87. Below a hundredth one figure and its power of ten."""
    if not value or abs(value) >= 0.01 or not math.isfinite(value):
        return number(value) if value else "0"
    figure, _, power = f"{value:.0e}".partition("e")
    return f"{figure} × 10{str(int(power)).translate(RAISED)}".replace("-", "−")
