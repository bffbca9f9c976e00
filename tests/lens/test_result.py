"""Results: every one draws itself, saves itself whole by its ending, and says which endings there are."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cutaway.config import AttentionConfig
from cutaway.errors import CutawayError
from cutaway.lens.charts import Bar, Grid, bars, cut, every
from cutaway.lens.colour import PAPERS, contrast, shade
from cutaway.lens.embeddings import Map
from cutaway.lens.loom import Loom, stacked, strongest
from cutaway.lens.numerals import digits, number
from cutaway.lens.result import Result, arrays
from cutaway.lens.sheet import Sheet
from tests.lens.models import one_stack, two_stacks

NAMES = (
    "contributions", "lead", "contributions of two", "rollout", "input", "folded", "rollout of two", "rollout of an encoder",
    "logit lens", "gradient", "gradient of two", "patching", "patched heads", "ablation", "ablation of two", "induction",
    "neighbours", "analogy", "map", "positions",
)  # fmt: skip
PROMPT, OTHER, SPACED = "I love $you_", "I hate $you_", "a b\nc"


@cache
def results() -> dict[str, Result]:
    """One of each kind, of one stack and of two."""
    lens, two = one_stack().lens, two_stacks().lens
    (near,) = lens.neighbours("a")
    return {
        "contributions": lens.contributions(PROMPT, "a"),
        "lead": lens.contributions(PROMPT, "a", "b", position=3),
        "contributions of two": two.contributions("ab", "c", target="xyz"),
        "rollout": lens.rollout(PROMPT),
        "input": lens.rollout(PROMPT, column=0),
        "folded": lens.rollout("Many more tokens than rows fit into"),
        "rollout of two": two.rollout("ab c", target="xyz"),
        "rollout of an encoder": two.rollout("ab c", target="xyz", of_encoder=True),
        "logit lens": lens.logit_lens(SPACED, count=2),
        "gradient": lens.gradient_input(PROMPT, "a", "b"),
        "gradient of two": two.gradient_input("ab c", "a", target="xyz"),
        "patching": lens.patch(PROMPT, OTHER, right="a", wrong="b"),
        "patched heads": lens.patch(PROMPT, OTHER, what="heads", right="a", wrong="b"),
        "ablation": lens.ablate(PROMPT),
        "ablation of two": two.ablate("ab c", "a", target="xyz"),
        "induction": lens.induction(length=5, num_sequences=2, off=[(0, 1)]),
        "neighbours": near,
        "analogy": lens.analogy("a", "b", "c"),
        "map": lens.map(["a", "b", "c", "d"]),
        "positions": lens.positions(20),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_result_draws_itself(name: str) -> None:
    figure = results()[name].figure()
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    words = {text.get_text() for text in axes.texts}
    assert len(words) > 4
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert (left, top) == (0, 0)
    assert (right, bottom) == tuple(96 * size for size in figure.get_size_inches())
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0, f"'{text.get_text()}' is cut off at the left"
        assert box.x1 <= 96 * figure.get_size_inches()[0] * figure.dpi / 96, (
            f"'{text.get_text()}' is cut off at the right"
        )
        assert "-" not in text.get_text().split()[-1] or not text.get_text()[-1].isdigit(), "a minus is U+2212"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_give_the_same_picture(name: str, tmp_path: Path) -> None:
    one, other = (results()[name].save(tmp_path / f"{index}.svg").read_bytes() for index in (1, 2))
    assert one == other


@pytest.mark.parametrize("name", NAMES)
def test_every_result_saves_its_numbers_whole(name: str, tmp_path: Path) -> None:
    result = results()[name]
    data = json.loads(result.save(tmp_path / "x.json").read_text("utf-8"))
    assert data == result.as_dict()
    assert data["result"] == type(result).__name__
    saved = numpy.load(result.save(tmp_path / "x.npz"))
    leaves = sorted(_numbers(data))
    found = sorted(
        float(leaf)
        for key in saved.files
        if not key.endswith(".lengths") and saved[key].dtype.kind in "fiub"
        for leaf in saved[key].flatten()
        if not numpy.isnan(leaf)
    )
    assert found == pytest.approx(leaves), "every number is in an array, and no other is"


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _numbers(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def test_pictures_are_of_the_kind_that_the_ending_names(tmp_path: Path) -> None:
    result = results()["ablation"]
    beginnings = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    for ending, beginning in beginnings.items():
        path = result.save(str(tmp_path / "new" / f"x.{ending.upper()}"))
        assert path.read_bytes().startswith(beginning)
    assert result._repr_svg_().count("<svg") == 1
    again = result.save(tmp_path / "y.svg").read_bytes()
    assert (tmp_path / "y.svg").read_bytes() == again
    assert b"<dc:date>" not in again


@pytest.mark.parametrize("name", ["x.jpg", "x", "svg", "x.svg.gz"])
def test_another_ending_is_refused_with_those_that_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"A picture ends in \.svg, \.png, \.pdf, numbers in \.json, \.npz"):
        results()["map"].save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_place_where_nothing_can_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CutawayError, match="file"):
        results()["map"].save(tmp_path / "file" / "x.json")


def test_nested_lists_become_named_arrays() -> None:
    found = arrays(
        {"a": 1, "b": [[1, 2], [3, None]], "c": [{"d": "x"}, {"d": None}], "e": [[{"f": 1.0}], []], "g": None}
    )
    assert set(found) == {"a", "b", "c.d", "e.f", "e.lengths", "g"}
    assert found["a"] == 1
    assert numpy.array_equal(found["b"], [[1, 2], [3, numpy.nan]], equal_nan=True)
    assert found["c.d"].tolist() == ["x", ""]
    assert (found["e.f"].tolist(), found["e.lengths"].tolist()) == ([1.0], [1, 0])
    assert numpy.isnan(found["g"])


def test_orange_is_the_place_looked_at_and_nothing_else() -> None:
    for name, result in results().items():
        texts = [text for text in result.figure().axes[0].texts if text.get_color() == PAPERS["light"].look]
        is_looked_at = name in (
            "rollout",
            "input",
            "folded",
            "rollout of two",
            "rollout of an encoder",
            "gradient",
            "gradient of two",
            "patching",
        )
        assert len(texts) == is_looked_at, name


@pytest.mark.parametrize("name", NAMES)
def test_the_dark_picture_is_the_light_one_in_other_colours(name: str) -> None:
    """The same words and shapes at the same places; every colour is of the dark page, and small words can be read on it."""
    light, dark = (results()[name].figure(theme).axes[0] for theme in ("light", "dark"))  # type: ignore[arg-type]
    places = [[(text.get_position(), text.get_text()) for text in axes.texts] for axes in (light, dark)]
    assert places[0] == places[1]
    assert [patch.get_extents().bounds for patch in light.patches] == [
        patch.get_extents().bounds for patch in dark.patches
    ]
    paper = PAPERS["dark"]
    assert to_hex(dark.figure.get_facecolor()) == paper.page
    inks = {text.get_color() for text in dark.texts}
    assert inks <= {paper.ink, paper.ink_2, paper.ink_3, paper.look, paper.page}
    assert min(contrast(ink, paper.page) for ink in inks - {paper.page}) >= 4.5
    used = [{to_hex(patch.get_facecolor()) for patch in axes.patches} for axes in (light, dark)]
    assert not used[0] & used[1] - {"#000000"}, "but for frames, which are empty, no colour is of both"


def test_a_theme_that_there_is_not_is_refused() -> None:
    with pytest.raises(CutawayError, match=r"theme is 'blue'\. Allowed: light, dark"):
        results()["map"].figure("blue")  # type: ignore[arg-type]


def test_a_picture_is_saved_in_its_theme(tmp_path: Path) -> None:
    for theme in ("light", "dark"):
        text = results()["map"].save(tmp_path / f"{theme}.svg", theme=theme).read_text("utf-8")  # type: ignore[arg-type]
        assert f"fill: {PAPERS[theme].page}" in text  # type: ignore[index]
    assert f"fill: {PAPERS['light'].page}" in results()["map"]._repr_svg_()


def test_groups_of_bars_share_one_scale() -> None:
    """Source and target of a gradient: a score twice as large is twice as long, in whichever group."""
    found = results()["gradient of two"]
    scores = (*found.source_scores, *found.scores)  # type: ignore[attr-defined]
    axes = found.figure().axes[0]
    unit = max(box.get_width() for box in axes.patches) / max(map(abs, scores))
    zeros = set()
    for box, score in zip(axes.patches, scores, strict=True):
        assert box.get_width() == pytest.approx(max(0.75, abs(score) * unit))
        if abs(score) * unit > 1:
            zeros.add(round(box.get_x() + (box.get_width() if score < 0 else 0), 3))
    assert len(zeros) == 1
    words = [text.get_text() for text in axes.texts]
    assert "Source" in words
    assert "Target" in words


def test_heads_of_cross_attention_are_named_in_full() -> None:
    words = [text.get_text() for text in results()["contributions of two"].figure().axes[0].texts]
    assert any(re.fullmatch(r"layer \d cross-attention head \d", word) for word in words)


def test_small_numbers_keep_two_figures() -> None:
    assert [digits(most) for most in (12.0, 0.1, 0.0949, 0.01, 0.0094, 1e-9, 0.0)] == [2, 2, 3, 3, 4, 6, 2]


def test_names_on_a_map_lie_over_no_point_and_no_other_name() -> None:
    words, points = tuple(f"word{i}" for i in range(9)), [(i % 3 / 10, i // 3 / 15) for i in range(8)]
    found = Map(ids=tuple(range(9)), texts=words, points=(*points, (1.0, 1.0)), shares=(0.5, 0.5))
    axes = found.figure().axes[0]
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[union-attr]
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text().startswith("word")]
    dots = axes.transData.transform(axes.collections[0].get_offsets())
    assert len(boxes) == len(dots) == 9
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert not any(box.contains(x, y) for box in boxes for x, y in dots)


def test_words_are_written_as_they_are() -> None:
    words = [text for text in results()["gradient"].figure().axes[0].texts if text.get_text() == "$"]
    assert len(words) == 1
    assert words[0].get_parse_math() is False


def test_a_shade_is_darker_the_more_there_is() -> None:
    for scale, low in (("learned", -1.0), ("computed", -1.0), ("share", 0.0)):
        values = [low + (1 - low) * step / 8 for step in range(9)]
        lights = [sum(int(shade(scale, value)[i : i + 2], 16) for i in (1, 3, 5)) for value in values]  # type: ignore[arg-type]
        assert lights == sorted(lights, reverse=True)
        assert len(set(lights)) == 9
        assert shade(scale, 7.0) == shade(scale, 1.0)  # type: ignore[arg-type]


def test_bars_are_as_long_as_their_numbers_and_go_to_their_side() -> None:
    sheet = Sheet()
    values = [2.0, -1.0, 0.5]
    bars(sheet, 0, 0, [Bar(name=str(v), value=v, scale="computed") for v in values], label=50, room=400)
    boxes = sheet.axes.patches
    zero = boxes[0].get_x()
    widths = [box.get_width() for box in boxes]
    assert widths[0] / widths[1] == pytest.approx(2)
    assert widths[0] / widths[2] == pytest.approx(4)
    assert boxes[1].get_x() + widths[1] == pytest.approx(zero)
    assert boxes[2].get_x() == pytest.approx(zero)
    assert zero + widths[0] < 50 + 12 + 400
    words = [text.get_text() for text in sheet.axes.texts]
    assert words == ["2.0", "2.00", "-1.0", "−1.00", "0.5", "0.50"]


@pytest.mark.parametrize("size", [(3, 4), (300, 4), (3, 300)])
def test_a_grid_keeps_its_place_whatever_its_size(size: tuple[int, int]) -> None:
    rows, columns = size
    values = [[(row + column) % 7 / 6 for column in range(columns)] for row in range(rows)]
    sheet, names = Sheet(1200), [str(row) for row in range(rows)]
    grid = Grid(
        values=values, rows=names, columns=[str(c) for c in range(columns)], scale="share", shown=lambda *_: "x"
    )
    end = grid.draw(sheet, 0, 0)
    assert end <= 1100
    assert grid.width <= 80 + 12 + 944
    if size == (3, 4):
        assert len(sheet.axes.patches) == 12
        assert sum(text.get_text() == "x" for text in sheet.axes.texts) == 12
    else:
        (image,) = sheet.axes.images
        assert image.get_array().shape[:2] == size
        assert not any(text.get_text() == "x" for text in sheet.axes.texts)


@pytest.mark.parametrize("heads", [12, 32])
def test_figures_of_many_heads_and_layers_stay_on_their_sheet(heads: int) -> None:
    stack = {"num_layers": 12, "d_model": 4 * heads, "attention": AttentionConfig(num_heads=heads)}
    lens = one_stack(**stack).lens
    found = (
        lens.contributions("ab"),
        lens.ablate("ab", "a"),
        lens.induction(length=3, num_sequences=1),
        lens.logit_lens("ab", has_middle=True),
        lens.patch("abc", "abd", what="heads", right="a", wrong="b"),
    )
    for result in found:
        axes = result.figure().axes[0]
        width = axes.get_xlim()[1]
        assert all(patch.get_x() + patch.get_width() <= width for patch in axes.patches)
        assert all(image.get_extent()[1] <= width for image in axes.images)
        renderer = axes.figure.canvas.get_renderer()  # type: ignore[union-attr]
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert all(box.x1 <= width for box in boxes)
        rows: dict[float, list[Any]] = {}
        for text, box in zip(axes.texts, boxes, strict=True):
            rows.setdefault(round(text.get_position()[1], 1), []).append(box)
        for row in rows.values():
            ends = sorted((box.x0, box.x1) for box in row)
            assert all(one[1] <= two[0] for one, two in pairwise(ends)), "no number lies over its neighbour"


def test_many_bars_are_named_as_often_as_there_is_room() -> None:
    sheet = Sheet()
    rows = [Bar(name=f"token{i}", value=1.0, scale="computed") for i in range(300)]
    bars(sheet, 0, 0, rows, label=80, room=400)
    words = [text.get_text() for text in sheet.axes.texts]
    assert words[:2] == ["token0", "token5"]
    assert len(words) == 60


def test_names_are_shown_as_often_as_there_is_room() -> None:
    assert list(every(5, 20, 16)) == [0, 1, 2, 3, 4]
    assert list(every(9, 4, 16)) == [0, 4, 8]
    assert cut("a long word", 40) == "a lo…"
    assert cut("short", 40) == "short"


def test_a_loom_stacks_its_threads_inside_its_boxes() -> None:
    """At both ends, the threads of a token fill its box from top to bottom, and none lies over another."""
    generator = torch.Generator().manual_seed(1)
    flows = {(o, t): float(torch.rand((), generator=generator)) / 10 for o in range(4) for t in range(o, 4)}
    for by in (0, 1):
        heights = [sum(share for pair, share in flows.items() if pair[by] == token) for token in range(4)]
        middles = stacked(heights, flows, by=by)
        for token in range(4):
            spans = sorted((middles[p] - flows[p] / 2, middles[p] + flows[p] / 2) for p in flows if p[by] == token)
            assert spans[0][0] == pytest.approx(-heights[token] / 2)
            assert spans[-1][1] == pytest.approx(heights[token] / 2)
            assert all(one[1] == pytest.approx(two[0]) for one, two in pairwise(spans))


def test_tokens_that_fold_keep_their_shares() -> None:
    shares = [[1 / 100] * 100, [0.0] * 99 + [1.0]]
    threads = [[(token, 99, 1 / 100) for token in range(100)]]
    names, tokens = ["input", "layer 0"], [str(i) for i in range(100)]
    loom = Loom(tokens=tokens, shares=shares, threads=threads, names=names, look=(99, 1), begin=100, pitch=200)
    assert 99 in strongest(shares, 28, 99)
    assert all(sum(column) == pytest.approx(1) for column in loom.heights)
    assert len(loom.heights[0]) == 28
    assert loom.heights[0][0] == pytest.approx(0.73)
    sheet = Sheet()
    loom.draw(sheet, 0)
    assert "73 others" in [text.get_text() for text in sheet.axes.texts]


def test_the_parts_that_are_drawn_say_their_numbers() -> None:
    found = results()["lead"]
    words = [text.get_text() for text in found.figure().axes[0].texts]
    strongest_part = max(found.parts, key=lambda part: abs(part.value))  # type: ignore[attr-defined]
    assert strongest_part.name in words
    assert number(strongest_part.value) in words


def test_letters_that_no_font_has_are_their_code() -> None:
    sheet = Sheet()
    sheet.fonts = ["DejaVu Sans"]
    assert sheet.legible("␣cat − ⟨ é") == "␣cat − ⟨ é"
    assert sheet.legible("\ue000漢") == "⟨e000⟩⟨6f22⟩"


def test_names_that_are_too_long_are_cut_and_numbers_that_do_not_fit_left_out() -> None:
    sheet = Sheet()
    grid = Grid(
        values=[[0.5] * 60], rows=["a name that is far too long"], columns=[""] * 60, scale="share", shown=lambda *_: "0.50"
    )  # fmt: skip
    grid.draw(sheet, 0, 0)
    words = [text.get_text() for text in sheet.axes.texts]
    assert "0.50" not in words
    assert max(map(len, words)) == 12


def test_every_result_has_a_name() -> None:
    assert tuple(results()) == NAMES
