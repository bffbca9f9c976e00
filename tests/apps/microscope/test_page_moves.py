"""Moving in the page: by keyboard alone, in both themes, in narrow windows, from an address, across a restart of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.weights import checkpoint
from tests import tiny
from tests.apps.microscope.driver import Page, page
from tests.apps.microscope.serving import Serving, serving
from tests.text.samples import trained

STAGES = ("tokens", "embedding", "position", "layers", "feedforward", "stream", "output", "why")
RUN_ON = """new Promise((done) => {
  const { context, looms } = microscope;
  let moves = 0;
  const move = () => {
    context.set({ i: context.place.i - 1 });
    if (++moves < 4) requestAnimationFrame(move);
    else requestAnimationFrame(() => done([context.place.i, context.isRunningOn, looms[0].isPainted(true)]));
  };
  move();
})"""
PLACE = "(({view, stage, ...rest}) => rest)(microscope.context.place)"


def place(tab: Page, name: str) -> object:
    return tab.value(f"microscope.context.place.{name}")


def test_the_whole_way_by_keyboard_alone(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    for stage in STAGES:
        tab.key("ArrowRight")
        assert place(tab, "stage") == stage
        assert tab.value(f"Math.abs(document.getElementById({stage!r}).getBoundingClientRect().top) < innerHeight")
    for _ in STAGES:
        tab.key("ArrowLeft")
    assert place(tab, "stage") == ""


def test_keys_move_the_place(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    last = place(tab, "i")
    tab.key("k")
    assert place(tab, "i") == last - 1
    tab.key("]")
    assert place(tab, "l") == 1
    tab.key("2")
    assert (place(tab, "open"), place(tab, "h"), place(tab, "stage")) == (True, 2, "layers")
    tab.key("Escape")
    assert place(tab, "open") is False
    assert tab.value("document.activeElement.dataset.head") == "2", "focus is back on the picture"
    tab.key("ArrowRight")
    tab.key("Enter")
    assert (place(tab, "open"), place(tab, "h")) == (True, 3)
    tab.key("Escape")
    tab.key("Escape")
    tab.key("Escape")
    assert place(tab, "i") == last
    tab.key("t")
    assert tab.value("document.documentElement.dataset.theme") == "dark"
    tab.key("t")
    tab.key("?", shift=True)
    assert tab.value("document.querySelectorAll('dialog[open] kbd').length") > 10


def test_a_head_is_switched_off_by_running_the_model_again(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#layers")
    before = tab.value("[microscope.context.run.run, document.querySelector('.says').textContent]")
    said = tab.value("document.querySelector('.dist')?.innerText")
    tab.value("document.querySelector('.headpic').focus()")
    tab.key("x")
    assert tab.value("document.querySelectorAll('.headpic.off').length") == 1
    assert tab.value("microscope.context.run.run") != before[0]
    tab.go("output")
    assert tab.value("document.querySelector('.dist').innerText") != said
    tab.go("layers")
    tab.value("document.querySelector('.headpic').focus()")
    tab.key("x")
    assert tab.value("microscope.context.run.run") == before[0], "the same request is the same run"


def test_positions_are_switched_off(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    tab.key("p")
    run = "microscope.context.run"
    assert tab.value(f"microscope.context.place.positions || {run}.stacks[0].columns.length > 3") in (True, False)
    assert place(tab, "positions") is False


def test_tab_reaches_every_stage(tab: Page, server: Serving) -> None:
    tab.open(server.address, height=6000)
    reached = set()
    for _ in range(90):
        for kind in ("rawKeyDown", "keyUp"):
            tab.browser.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(
            tab.value(
                "document.activeElement.closest('section, .loom, .prompt, header')?.id || document.activeElement.className"
            )
        )
    assert set(STAGES) <= reached


def test_the_text_is_edited_and_a_token_kept(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    tab.key("/")
    assert tab.value("document.activeElement.matches('textarea')")
    tab.write("")
    tab.value("document.activeElement.value = ''; document.activeElement.dispatchEvent(new Event('input'))")
    assert "Nothing to look at yet" in tab.value("document.querySelector('.says').textContent")
    tab.write("A dog and a cat")
    tab.key("Enter")
    assert tab.value("microscope.context.run.text") == "A dog and a cat"
    tokens = tab.value("microscope.context.run.stacks[0].tokens.length")
    next_id = tab.value("microscope.context.run.stacks[0].next[0].id")
    tab.value("microscope.context.set({thrown: 0})")
    tab.key("n")
    assert tab.value("microscope.context.run.stacks[0].tokens.length") == tokens + 1
    assert tab.value("microscope.context.run.stacks[0].tokens.at(-1).id") == next_id
    assert place(tab, "i") == tokens


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(tab: Page, server: Serving, width: int, scheme: str) -> None:
    tab.open(server.address + "#layers?layer=1&head=2&open=true", width=width, scheme=scheme)
    assert tab.value("document.documentElement.dataset.theme") == scheme
    for view in ("way", "layers", "why", "replay", "memory"):
        tab.go(view)
        assert tab.value("document.documentElement.scrollWidth") <= width, view
    assert (
        tab.value("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(251, 251, 249)",
            "dark": "rgb(19, 20, 22)",
        }[scheme]
    )


def test_the_address_holds_what_is_seen(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    tab.value(
        "microscope.context.set({i: 2, j: 1, l: 1, h: 3, c: 1, open: true, temperature: 0.7, topk: 5,"
        " text: 'a dog,\\n and & a cat # sat'})"
    )
    tab.go("layers")
    kept = tab.value(f"[{PLACE}, document.querySelector('.ledger').innerText]")
    where = tab.value("location.href")
    tab.open(where)
    assert tab.value(f"[{PLACE}, document.querySelector('.ledger').innerText]") == kept
    assert place(tab, "stage") == "layers"
    top = tab.value("document.getElementById('layers').getBoundingClientRect().top")
    assert top == pytest.approx(88, abs=2), "what was drawn above it later has not moved it away"


def test_a_link_is_followed_though_the_place_is_written_meanwhile(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#layers")
    tab.value("location.hash = 'why'; history.replaceState(null, '', '#layers?layer=1')")
    tab.settle()
    assert place(tab, "stage") == "why"


def test_a_long_text_is_cut_and_survives_a_reload(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    tab.value("microscope.context.set({i: -1, text: 'the cat and the dog sat. '.repeat(4000)})")
    tab.settle()
    said = tab.value("document.querySelector('.says').textContent")
    assert said.startswith("100,000 characters")
    assert "The last 96 are shown" in said
    assert tab.value("document.querySelectorAll('.loom .row').length") == 25, "24 rows and what is folded"
    tab.value("document.querySelector('.loom canvas').focus({preventScroll: true})")
    places = []
    for key in ("Home", "PageDown", "End", "PageUp", "End"):
        tab.key(key)
        places.append(place(tab, "i"))
    assert places == [0, 24, 95, 71, 95]
    assert len(tab.value("location.hash")) < 200
    tab.browser.ask("Page.reload")
    tab.settle()
    assert tab.value("document.querySelector('.says').textContent") == said
    shares = tab.value("microscope.looms[0].flow.shares.map((shares) => shares.reduce((a, b) => a + b, 0))")
    assert shares == pytest.approx([1.0] * len(shares), abs=0.01)


def test_threads_follow_when_a_run_through_a_long_text_comes_to_rest(tab: Page, tmp_path: Path) -> None:
    config = tiny.config(decoder=tiny.stack(), vocab_size=trained("bpe").vocab_size, context=512)
    checkpoint.save(tmp_path / "long", tiny.model(config), tokenizer_files=trained("bpe").save)
    with serving(tmp_path / "long") as found:
        tab.open(found.address)
        tab.value("microscope.context.set({i: -1, text: 'the cat and the dog sat. '.repeat(100)})")
        tab.settle()
        last = place(tab, "i")
        assert last > 256
        hasty = tab.value(RUN_ON)
        assert hasty == [last - 4, True, False], "while it runs, the picture has no threads, and nobody asks for them"
        tab.settle()
        assert place(tab, "i") == last - 4
        assert tab.value("microscope.looms[0].isPainted(true)")
        shares = tab.value("microscope.looms[0].flow.shares.map((shares) => shares.reduce((a, b) => a + b, 0))")
        assert shares == pytest.approx([1.0] * len(shares), abs=0.01)


def test_the_page_outlives_its_server(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    tab.go("embedding")
    before = tab.value("document.querySelector('#embedding').innerText")
    server.end()
    tab.value("microscope.context.set({i: 1})")
    for _ in range(100):
        if not tab.value("document.getElementById('trouble').hidden"):
            break
        tab.value("new Promise((done) => setTimeout(done, 50))")
    assert "does not answer" in tab.value("document.getElementById('trouble').textContent")
    assert tab.value("document.querySelector('#embedding').innerText") == before, "what was drawn stays"
    server.begin()
    tab.settle()
    assert tab.value("document.getElementById('trouble').hidden")
    assert tab.value("document.querySelector('#embedding').innerText") != before


def test_no_request_leaves_this_machine(browser: str, server: Serving) -> None:
    with page(browser) as fresh:
        fresh.open(server.address)
        for view in (*STAGES, "replay", "memory", "lessons"):
            fresh.go(view)
        asked = [url for url in fresh.browser.requests if not url.startswith(("data:", "blob:"))]
        assert asked
        assert [url for url in asked if not url.startswith(server.address)] == []
