"""The page in a real browser, opened from a file: it complains of nothing, asks for nothing, and draws what the trace holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutaway.apps.inspect.colour import palettes
from cutaway.apps.inspect.html import page
from cutaway.lens.way import Way, way
from cutaway.lm import load
from tests.apps.chrome import Chrome, chrome
from tests.apps.small import saved

PROMPT = "The cat and the dog"
HOSTILE = "</script><script>owned=1</script><img src=x onerror=owned=1>"
# The colours in the middles of the cells of the head in full, as [row][column][red, green, blue, opacity].
PIXELS = """(() => {{
  const canvas = document.querySelector('.matrix canvas');
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {{ willReadFrequently: true }});
  copy.drawImage(canvas, 0, 0);
  const cells = [...Array({size}).keys()].map((cell) => (cell + 0.5) / {size});
  return cells.map((y) => cells.map((x) => [...copy.getImageData(x * canvas.width, y * canvas.height, 1, 1).data]));
}})()"""
BOX = "(() => { const b = document.querySelector('%s').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Way:
    lm = load(saved(tmp_path_factory.mktemp("models") / "small"))
    return way(lm.model, lm.tokenizer, PROMPT, layer=1, head=2)


@pytest.fixture
def tab(browser: str) -> Iterator[Chrome]:
    with chrome(browser) as opened:
        yield opened


def written(way: Way, folder: Path) -> Path:
    path = folder / "way.html"
    path.write_text(page(way, "small"), encoding="utf-8")
    return path


def is_clean(tab: Chrome, path: Path) -> bool:
    return tab.complaints == [] and [url for url in tab.requests if not url.startswith("data:")] == [path.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cells_have_the_colours_of_the_weights(tab: Chrome, found: Way, tmp_path: Path, scheme: str) -> None:
    path = written(found, tmp_path)
    tab.open(path, scheme=scheme)
    colours, size = palettes()[scheme]["share"], len(found.tokens)
    drawn = tab.value(PIXELS.format(size=size))
    weights = found.trace["layers.1.attention.weights"][0, 2]
    for row in range(size):
        for column in range(row + 1):
            step = float(weights[row, column]) * (len(colours) - 1)
            near = {colours[max(0, min(len(colours) - 1, round(step + shift)))] for shift in (-0.01, 0.01)}
            assert "#" + "".join(f"{part:02x}" for part in drawn[row][column][:3]) in near
    assert drawn[0][size - 1][3] == 0, "what is hidden is not drawn"
    assert is_clean(tab, path)


def test_the_pointer_reads_the_value_and_its_place(tab: Chrome, found: Way, tmp_path: Path) -> None:
    path = written(found, tmp_path)
    tab.open(path)
    for selector, name, row, column in (
        ("#embedding .line:nth-of-type(3) canvas", "embedding.token", 1, 4),
        (".matrix canvas", "layers.1.attention.weights", 3, 1),
    ):
        tab.value(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
        left, top, width, height = tab.value(BOX % selector)
        tensor = found.trace[name][0, 2] if name.endswith("weights") else found.trace[name][0]
        rows, place = (len(tensor), row) if name.endswith("weights") else (1, 0)
        drawn = column * 2 if name == "embedding.token" else column
        tab.hover(left + (column + 0.5) * width / tensor.shape[1], top + (place + 0.5) * height / rows)
        said = tab.value("document.getElementById('reading').innerText")
        head = "0, 2, " if name.endswith("weights") else "0, "
        assert f"{name}[{head}{row}, {drawn}]" in said
        assert said.startswith(f"{float(tensor[row, drawn]):.4f}".replace("-", "−"))
    assert is_clean(tab, path)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(tab: Chrome, found: Way, tmp_path: Path, width: int) -> None:
    tab.open(written(found, tmp_path), width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value("document.documentElement.dataset.drawn") == tab.value(
        "String(document.querySelectorAll('canvas').length)"
    )


def test_a_hostile_prompt_runs_nothing(tab: Chrome, tmp_path_factory: pytest.TempPathFactory) -> None:
    lm: Any = load(saved(tmp_path_factory.mktemp("models") / "small"))
    path = written(way(lm.model, lm.tokenizer, HOSTILE), tmp_path_factory.mktemp("pages"))
    tab.open(path)
    assert tab.value("typeof owned") == "undefined"
    assert tab.value("document.images.length") == 0
    assert "</script><imgsrc=xonerror=owned=1>" in tab.value("document.querySelector('.text').textContent")
    assert is_clean(tab, path)
