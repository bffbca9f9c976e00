"""The other views in a browser: replay, memory, lessons, two stacks, side by side, and a page saved as one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, PositionConfig
from cutaway.weights import checkpoint
from tests import tiny
from tests.apps.microscope.driver import Page, page
from tests.apps.microscope.serving import Serving, serving
from tests.text.samples import trained

SAVE = "microscope.asFile().then((file) => file.text())"
LEDGER = """[...document.querySelectorAll(".ledger td.num, .ledger td.soft")].map((cell) =>
  Number(cell.textContent.replace("−", "-")) || 0)"""
OTHER_CHOICE = """[...document.querySelectorAll(".lesson [role=radio]")].find((button) =>
  button.getAttribute("aria-checked") === "false").click()"""
APART = """import("/core/api.js").then(async ({ tensor }) => {
  const runs = [microscope.context.run, microscope.context.other],
    [a, b] = await Promise.all(runs.map((run) => tensor(run.run, run.stacks[0].columns.at(-1).site))),
    row = (matrix) => [...matrix.data.slice(-matrix.columns)];
  return Math.max(...row(a).map((value, k) => Math.abs(value - row(b)[k])));
})"""
CLICK_TABLE = """(() => {{ const link = document.querySelectorAll("#view-way .tablelink")[{number}];
  if (link.checkVisibility()) link.click(); }})()"""


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Serving]:
    with serving(model, "translate-de-en") as found:
        yield found


def test_memory_follows_bits_cache_and_batch(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#memory")
    before = tab.value("document.querySelector('#view-memory .big').textContent")
    assert "B/s" in before
    assert "tokens/s" in before
    assert "the arithmetic takes" in before
    for change in ("{bits: 4}", "{cache: false}", "{batch: 16}"):
        tab.value(f"microscope.context.set({change})")
        tab.settle()
        after = tab.value("document.querySelector('#view-memory .big').textContent")
        assert after != before, change
        before = after


def test_memory_is_measured_when_asked(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#memory?bits=8&context=16")
    panel = "document.querySelector('#view-memory').innerText"
    assert "fits into the processor’s cache" in tab.value(panel)
    assert "tokens before" not in tab.value(panel)
    tab.value("document.querySelector('[data-measure]').click()")
    tab.settle()
    shown = tab.value(panel)
    assert "One text with its cache, in 8 bits" in shown
    for part in ("weights ", "attention ", "norms ", "sampling ", "dispatch "):
        assert part in shown, part
    assert tab.value("document.querySelectorAll('[data-measure]').length") == 0
    tab.value("microscope.context.set({bits: 32})")
    tab.settle()
    assert "One text with its cache" not in tab.value(panel), "what was measured was another precision"
    assert tab.value("document.querySelectorAll('[data-measure]').length") == 1


def test_a_lesson_runs_and_its_control_changes_it(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#lessons?model=stories&lesson=order")
    titles = tab.value("document.querySelectorAll('#view-lessons li').length")
    assert titles >= 12
    assert "Encoder" not in tab.value("document.querySelector('.lesson h2').textContent")
    first = tab.value("document.querySelector('.lesson').innerText")
    assert "What would show this wrong?" in first
    assert tab.value("document.querySelectorAll('.lesson canvas').length") > 0
    tab.value(OTHER_CHOICE)
    tab.value("new Promise((done) => setTimeout(done, 200))")
    tab.settle()
    assert tab.value("document.querySelector('.lesson').innerText") != first


def test_two_stacks_and_what_passes_between_them(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#way?model=translate-de-en&text=Die+Katze+schl%C3%A4ft.", height=1400)
    assert tab.value("document.querySelectorAll('.loom').length") == 2
    source = "microscope.looms[0].flow.whole.reduce((a, b) => a + b, 0)"
    target = "microscope.looms[1].flow.shares[0].reduce((a, b) => a + b, 0)"
    assert tab.value(f"{source} + {target}") == pytest.approx(1, abs=1e-3), "source and target together are the whole"
    assert tab.value(source) > 0.1
    tab.value("microscope.context.set({block: 'cross', l: 1, h: 2, open: true})")
    tab.go("layers")
    assert tab.value("document.querySelectorAll('.block').length") == 3
    sources = tab.value("microscope.context.run.stacks[0].tokens.length")
    assert tab.value("document.querySelectorAll('.ledger tr.past').length") == sources
    tab.value("microscope.context.set({stack: 0, i: 1, block: 'attention'})")
    tab.go("way")
    assert tab.value("microscope.looms[0].flow.whole.reduce((a, b) => a + b, 0)") == pytest.approx(1, abs=1e-3)


def test_two_texts_side_by_side(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#way?b=The+dog+and+the+dog+sat", height=2400)
    far = "microscope.readings(400).filter((r) => r.site.startsWith('embedding.sum[')).map((r) => r.value)"
    tab.value("document.getElementById('beside').scrollIntoView()")
    tab.settle()
    apart = tab.value("document.querySelector('#beside canvas').getAttribute('aria-label')")
    assert "columns" in apart
    assert tab.value("document.querySelectorAll('#beside .headpic').length") == 8
    assert tab.value(f"{far}.length") > 0
    assert "A − B" in tab.value("document.getElementById('beside').innerText")


@pytest.mark.parametrize(("positions", "most", "least"), [("false", 1e-5, 0), ("true", 10, 1e-3)])
def test_without_positions_an_encoder_cannot_tell_another_order(
    tab: Page, tmp_path: Path, positions: str, most: float, least: float
) -> None:
    tokenizer = trained("bpe")
    made = tiny.model(tiny.config(encoder=tiny.stack(), vocab_size=tokenizer.vocab_size, context=96))
    checkpoint.save(tmp_path / "encoder", made, tokenizer_files=tokenizer.save)
    with serving(tmp_path / "encoder", text=" the the cat cat the") as server:
        tab.open(server.address + f"#position?positions={positions}", height=2400)
        tab.value(
            "[...document.querySelectorAll('#position button')].find((b) => b.textContent.includes('order')).click()"
        )
        tab.settle()
        assert tab.value("microscope.context.place.b") == " cat cat the the the"
        assert tab.value("document.getElementById('beside').getBoundingClientRect().top") < 200
        assert ("off in both" in tab.value("document.getElementById('beside').innerText")) == (positions == "false")
        apart = tab.value(APART)
        assert least <= apart <= most


def test_every_picture_has_a_table(tab: Page, server: Serving) -> None:
    tab.open(server.address, height=7000)
    links = tab.value("document.querySelectorAll('#view-way .tablelink').length")
    assert links >= 9
    for number in range(links):
        tab.value(CLICK_TABLE.format(number=number))
        cells = tab.value(
            "document.querySelector('dialog.table') ? document.querySelectorAll('dialog.table td').length : -1"
        )
        assert cells == -1 or cells > 3, number
        tab.value("document.querySelector('dialog.table')?.close()")


def test_a_saved_page_opens_elsewhere_without_a_request(
    tab: Page, browser: str, server: Serving, tmp_path: Path
) -> None:
    tab.open(server.address + "#layers?layer=1&head=2&open=true&i=4")
    ledger = tab.value(LEDGER)
    path = tmp_path / "saved.html"
    path.write_text(tab.value(SAVE), encoding="utf-8")
    with page(browser) as other:
        other.open(path.as_uri())
        assert other.value(LEDGER) == pytest.approx(ledger, abs=0.02), "kept in half precision"
        for stage in ("tokens", "embedding", "position", "feedforward", "stream", "output", "why"):
            other.go(stage)
            assert other.value("[...document.querySelectorAll('.trouble')].every((e) => !e.checkVisibility())"), stage
        other.key("k")
        assert other.value("document.querySelectorAll('.lens tr.on').length") == 1
        asked = [url for url in other.browser.requests if not url.startswith("data:")]
        assert asked == [path.as_uri()]


@pytest.mark.parametrize("kind", ["rotary", "experts", "encoder", "none"])
def test_models_of_other_kinds_are_drawn_without_a_complaint(tab: Page, tmp_path: Path, kind: str) -> None:
    tokenizer = trained("bpe")
    stacks = {
        "rotary": {
            "decoder": tiny.stack(
                position=PositionConfig(kind="rotary"), attention=AttentionConfig(num_heads=4, num_kv_heads=2)
            )
        },
        "experts": {
            "decoder": tiny.stack(
                feedforward=FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=4, num_active=2))
            )
        },
        "encoder": {"encoder": tiny.stack()},
        "none": {"decoder": tiny.stack(position=PositionConfig(kind="none"))},
    }
    made = tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, context=96, **stacks[kind]))
    checkpoint.save(tmp_path / kind, made, tokenizer_files=tokenizer.save)
    with serving(tmp_path / kind) as server:
        before = len(tab.browser.events)
        tab.open(server.address + "#layers?layer=1&head=1&open=true", height=7000)
        assert tab.value("document.querySelectorAll('.ledger tr.past').length") > 0
        assert tab.value("[...document.querySelectorAll('.trouble')].every((e) => !e.checkVisibility())")
        assert tab.value("document.querySelectorAll('.stale').length") == 0
        thrown = [e for e in tab.browser.events[before:] if e.get("method") == "Runtime.exceptionThrown"]
        assert thrown == []
