"""Rows say what was measured and whether the goal was met; a page is renewed in its places and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

MACHINE = {"processor": "one", "cores": "2"}
EMPTY = "# Page\n\n<!-- machine -->\n<!-- /machine -->\n\nBefore.\n\n<!-- some -->\n<!-- /some -->\n\nAfter.\n"


@pytest.fixture
def rows() -> list[Any]:
    """A figure of every kind of row."""
    from figure import at_least, at_most_more, at_most_share, no_higher, sample, within

    fast, slow = sample([30.0, 20.0, 40.0], "{:.0f} t/s"), sample([10.0, 10.0, 10.0], "{:.0f} t/s")
    return [
        at_least("met", fast, slow, 3.0),
        at_least("missed", fast, slow, 3.01),
        at_least("no goal", slow, fast, None),
        no_higher("less", slow, fast),
        within("edge", slow, 10.0),
        within("below edge", slow, 10.0, is_strict=True),
        at_most_more("more", fast, slow, 19.0),
        at_most_share("share", slow, slow, 0.02),
    ]


def test_a_row_compares_medians(rows: list[Any]) -> None:
    assert [row.is_met for row in rows] == [True, False, None, True, True, False, False, True]
    assert [row.ratio for row in rows] == ["3.00×", "3.00×", "0.33×", "0.33×", "", "", "+20 t/s", "+0.00%"]
    assert str(rows[0].ours) == "30 t/s (20–40)"
    assert str(rows[0].peer) == "10 t/s"
    assert rows[5].goal == "< 10 t/s"


def test_a_page_changes_in_its_places_only(rows: list[Any], tmp_path: Path) -> None:
    from report import write_page

    page = tmp_path / "page.md"
    page.write_text(EMPTY, "utf-8")
    write_page(page, {"some": rows}, MACHINE)
    once = page.read_text("utf-8")
    assert "| met | 30 t/s (20–40) | 10 t/s | 3.00× | ≥ 3× | yes |" in once
    assert "| cores | 2 |" in once
    assert once.startswith("# Page\n")
    assert once.endswith("<!-- /some -->\n\nAfter.\n")
    write_page(page, {"some": rows}, MACHINE)
    assert page.read_text("utf-8") == once


def test_a_page_without_the_place_stays(rows: list[Any], tmp_path: Path) -> None:
    from figure import BenchmarkError
    from report import write_page

    page = tmp_path / "page.md"
    page.write_text(EMPTY, "utf-8")
    with pytest.raises(BenchmarkError, match="other"):
        write_page(page, {"some": rows, "other": rows}, MACHINE)
    assert page.read_text("utf-8") == EMPTY


def test_figures_of_two_machines_do_not_mix(rows: list[Any], tmp_path: Path) -> None:
    from figure import BenchmarkError
    from report import write_page

    page = tmp_path / "page.md"
    page.write_text(EMPTY + "<!-- else -->\n<!-- /else -->\n", "utf-8")
    write_page(page, {"some": rows}, MACHINE)
    with pytest.raises(BenchmarkError, match=r"another machine \(else\)"):
        write_page(page, {"some": rows}, {**MACHINE, "cores": "3"})
    write_page(page, {"some": rows, "else": rows}, {**MACHINE, "cores": "3"})
    assert "| cores | 3 |" in page.read_text("utf-8")


def test_the_published_page_has_a_place_for_every_figure(benchmarks: Path) -> None:
    import run

    page = (benchmarks.parent / "docs" / "benchmarks.md").read_text("utf-8")
    for name in (*run.FIGURES, "machine"):
        assert page.count(f"<!-- {name} -->\n") == 1, name
        assert page.count(f"<!-- /{name} -->\n") == 1, name
