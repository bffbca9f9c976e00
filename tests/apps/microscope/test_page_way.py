"""The way in a browser: every panel is there, and what is drawn are the numbers of the trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.apps.inspect.colour import palettes
from cutaway.lm import LM, load
from cutaway.weights import checkpoint
from tests.apps.microscope.driver import Page, page
from tests.apps.microscope.serving import TEXT, serving

STAGES = ("tokens", "embedding", "position", "layers", "feedforward", "stream", "output", "why")
FIELD = re.compile(r"([a-z.0-9]+)\[([\d, ]+)\]")
OPEN_HEAD = "microscope.context.set({l: 1, h: 2, i: 4, j: 1, open: true})"


@pytest.fixture(scope="module")
def lm(model: Path) -> LM:
    return load(str(model))


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    with serving(model) as server:
        yield server.address


@pytest.fixture(scope="module")
def shared(browser: str) -> Iterator[Page]:
    with page(browser) as opened:
        yield opened


@pytest.fixture
def tab(shared: Page, address: str) -> Page:
    shared.open(address)
    return shared


def open_head(tab: Page) -> None:
    tab.value(OPEN_HEAD)
    tab.go("layers")


def visit_all(tab: Page) -> list[dict[str, Any]]:
    """Scroll along the way, and collect what is drawn at each stop."""
    found: list[dict[str, Any]] = []
    for stage in STAGES:
        tab.value(f"document.getElementById({stage!r}).scrollIntoView({{behavior: 'instant'}})")
        tab.settle()
        found += tab.value("microscope.readings(40)")
    return found


def test_every_panel_is_there_with_numbers(tab: Page, lm: LM) -> None:
    tab.value(OPEN_HEAD)
    visit_all(tab)
    tokens = lm.tokenizer.encode(TEXT)
    assert [tab.value(f"document.querySelector('#{stage} h2') !== null") for stage in STAGES] == [True] * len(STAGES)
    assert tab.value("document.querySelectorAll('.prompt .text [data-i]').length") == len(tokens)
    assert tab.value("document.querySelectorAll('.headpic[data-head]').length") == 2 * 5
    assert tab.value("document.querySelectorAll('.lens tbody tr').length") == len(tokens)
    assert tab.value("document.querySelectorAll('.dist tr[data-id]').length") == 14
    parts = tab.value("document.querySelectorAll('#why [data-part]').length")
    assert parts >= 2 * 5 + 1
    assert tab.value("document.querySelectorAll('.ledger tr.past').length") == 5
    assert tab.value("[...document.querySelectorAll('main .trouble')].every((e) => e.hidden)")
    blank = (
        "[...document.querySelectorAll('#view-way canvas')].filter((c) => c.checkVisibility() && c.width > 1 && "
        "!c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v)).length"
    )
    assert tab.value(blank) == 0, "every picture has pixels"


def test_five_hundred_drawn_numbers_are_those_of_the_trace(tab: Page, lm: LM) -> None:
    tab.value(OPEN_HEAD)
    trace, seen, sites = lm.trace(TEXT), set(), set()
    for drawn in visit_all(tab):
        match = FIELD.fullmatch(drawn["site"])
        if match is None or match[1].startswith("weights."):
            continue
        name, index = match[1], tuple(int(part) for part in match[2].split(","))
        if name == "embedding.position" and index[0] >= len(lm.tokenizer.encode(TEXT)):
            continue  # rows of the table that no token of this text has
        assert drawn["value"] == pytest.approx(float(trace[name][0][index]), rel=1e-4, abs=1e-5), drawn
        seen.add((name, index))
        sites.add(re.sub(r"\d+", "*", name))
    assert len(seen) >= 500
    kinds = ("weights", "query", "key", "value", "mixed", "input")
    wanted = {f"layers.*.attention.{kind}" for kind in kinds} | {"layers.*.feedforward.active", "layers.*.residual.end"}
    assert wanted <= sites


def test_the_cells_of_an_open_head_have_the_colours_of_its_weights(tab: Page, lm: LM) -> None:
    open_head(tab)
    tab.box(".mat canvas")
    cell = tab.value("document.querySelector('.mat canvas').width") // len(lm.tokenizer.encode(TEXT))
    weights = lm.trace(TEXT)["layers.1.attention.weights"][0, 2]
    colours = palettes()["light"]["share"]
    for row in (0, 2, 5):  # the looked-at row is written over
        for column in range(row + 1):
            at = f"{column * cell + 2}, {row * cell + 2}, 1, 1"
            pixel = tab.value(f"[...document.querySelector('.mat canvas').getContext('2d').getImageData({at}).data]")
            step = float(weights[row, column]) * (len(colours) - 1)
            wanted = bytes.fromhex(colours[round(step)][1:])
            assert max(abs(a - b) for a, b in zip(pixel[:3], wanted, strict=True)) <= 3, (row, column)


def test_the_ledger_can_be_recomputed(tab: Page, lm: LM) -> None:
    open_head(tab)
    tab.box(".ledger")
    rows = tab.value(
        "[...document.querySelectorAll('.ledger tr.past')].map((r) => [...r.children].map((c) => c.textContent))"
    )
    numbers = [[float(text.replace("−", "-")) for text in (row[2], row[3], row[4])] for row in rows]
    scores = torch.tensor([row[1] for row in numbers])
    for (product, scaled, weight), again in zip(numbers, scores.softmax(0).tolist(), strict=True):
        assert scaled == pytest.approx(product / 2, abs=0.011)  # √4, to two places
        assert weight == pytest.approx(again, abs=0.011)
    trace = lm.trace(TEXT)
    assert [row[2] for row in numbers] == pytest.approx(
        trace["layers.1.attention.weights"][0, 2, 4, :5].tolist(), abs=0.0051
    )


def test_the_pointer_reads_the_value_and_its_place(tab: Page, lm: LM) -> None:
    left, top, width, height = tab.box("#embedding canvas")
    tab.browser.hover(left + 4.5 * width / 16, top + height / 2)
    tab.settle()
    said = tab.value("document.getElementById('tip').innerText")
    last = len(lm.tokenizer.encode(TEXT)) - 1
    dimension = int(re.search(rf"embedding\.token\[{last}, (\d+)\]", said)[1])  # type: ignore[index]
    value = float(lm.trace(TEXT)["embedding.token"][0, last, dimension])
    assert f"{value:.4f}".replace("-", "−") in said


def test_the_sliders_recompute_over_the_whole_vocabulary(tab: Page, lm: LM) -> None:
    tab.value("microscope.context.set({temperature: 0.5, topk: 3, thrown: 0.999})")
    tab.go("output")
    logits = lm.logits(lm.tokenizer.encode(TEXT))[0, -1].double() / 0.5
    chances, ids = logits.softmax(0).sort(descending=True)
    kept = (chances[:3] / chances[:3].sum()).tolist()
    rows = tab.value(
        "[...document.querySelectorAll('.dist tr[data-id]')].slice(0, 4).map((r) => [r.dataset.id, r.lastChild.textContent])"
    )
    assert [int(row[0]) for row in rows] == ids[:4].tolist()
    assert rows[3][1] == "cut"
    for (_, text), chance in zip(rows[:3], kept, strict=True):
        assert abs(float(text.replace(" %", "").replace("<", "")) - 100 * chance) < 0.6
    assert tab.value("document.querySelector('.dist tr.on').dataset.id") == str(int(ids[2])), (
        "0.999 lands on the last kept"
    )


def test_the_parts_add_up_to_the_logit(tab: Page, lm: LM) -> None:
    tab.go("why")
    total = tab.value("microscope.stages.why.parts.reduce((sum, part) => sum + part.value, 0)")
    assert total == pytest.approx(float(lm.logits(lm.tokenizer.encode(TEXT))[0, -1].max()), abs=1e-3)


def test_the_line_cuts_the_tree_into_smaller_tokens(tab: Page) -> None:
    whole = tab.value("document.querySelectorAll('.toks button').length")
    tab.box("#cut")
    tab.value("document.getElementById('cut').focus()")
    for _ in range(60):
        tab.browser.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowUp", windowsVirtualKeyCode=38)
    tab.settle()
    assert tab.value("document.getElementById('cut').getAttribute('aria-valuenow')") == "1"
    assert tab.value("document.querySelectorAll('.toks button').length") > whole


def test_a_hostile_text_runs_nothing(tab: Page, address: str) -> None:
    tab.open(
        address + "#way?text=%3C%2Fscript%3E%3Cscript%3Eowned%3D1%3C%2Fscript%3E%3Cimg+src%3Dx+onerror%3Downed%3D1%3E"
    )
    visit_all(tab)
    assert tab.value("typeof owned") == "undefined"
    assert tab.value("document.images.length") == 0


def test_one_weight_changes_the_picture(shared: Page, model: Path, tmp_path: Path) -> None:
    other = load(str(model))
    name, weight = next((n, w) for n, w in other.model.named_parameters() if "attention" in n and w.dim() == 2)
    weight.data[0, 0] += 0.5
    checkpoint.save(tmp_path / "other", other.model, tokenizer_files=other.tokenizer.save)
    pictures = []
    with serving(model, tmp_path / "other") as server:
        for path in (model, tmp_path / "other"):
            shared.open(server.address)
            names = shared.value("microscope.context.answers.get('models').value.models.map((m) => m.name)")
            wanted = next(each for each in names if Path(each).name == path.name)
            shared.value(f"microscope.context.set({{model: {wanted!r}}})")
            shared.go("layers")
            pictures.append(shared.value("[...document.querySelectorAll('.wall canvas')].map((c) => c.toDataURL())"))
    assert pictures[0] != pictures[1], name
