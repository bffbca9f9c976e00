"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from cutaway.lens.numerals import count, small

SAID = {
    0.0: "0",
    3.1e-15: "3 × 10⁻¹⁵",
    -2e-4: "−2 × 10⁻⁴",
    0.0099: "1 × 10⁻²",
    0.01: "0.01",
    1.867: "1.87",
    -1234.5: "−1,234.50",
    math.inf: "inf",
}


@pytest.mark.parametrize(("value", "said"), SAID.items())
def test_small_sizes_have_one_figure_and_a_power_of_ten(value: float, said: str) -> None:
    assert small(value) == said


def test_things_are_counted() -> None:
    assert [count(1, "token"), count(1024, "token"), count(0, "pass", "passes")] == [
        "1 token",
        "1,024 tokens",
        "0 passes",
    ]
