"""What goes wrong: a cut connection, an address with nonsense, a second tab, a model that takes long to open, odd texts."""

from __future__ import annotations

import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cutaway.apps.cli.open import listen
from cutaway.apps.microscope import generating, routes
from cutaway.apps.microscope.desk import Desk
from cutaway.apps.microscope.opening import Opening
from cutaway.apps.microscope.shelf import Shelf
from cutaway.apps.microscope.wire import Answering
from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from tests import tiny
from tests.apps.microscope.driver import Page
from tests.apps.microscope.serving import Serving, serving
from tests.text.samples import trained

NONSENSE = (
    "#replay?mode=9&pass=x",
    "#memory?bits=5&batch=-1&context=0",
    "#lessons?lesson=order&settings=%7B%7B",
    "#nothing?i=1.5&j=99&layer=77&head=-4&block=other&column=abc&stack=3&unit=1e9&cut=-3&open=maybe",
    "#why?word=999999&against=-9&temperature=none",
    "#way?off=no.such.head&more=x",
)
SUMS = "microscope.looms.map((loom) => (loom.flow ? loom.flow.{part}.reduce((a, b) => a + b, 0) : 0))"


def test_a_table_of_more_numbers_than_a_call_takes_is_drawn(tab: Page, tmp_path: Path) -> None:
    """Positions 640 wide, of hundreds of places: the picture is drawn, and the keys still answer."""
    tokenizer = trained("bpe")
    config = tiny.config(decoder=tiny.stack(d_model=640), vocab_size=tokenizer.vocab_size, context=4096)
    checkpoint.save(tmp_path / "long", tiny.model(config), tokenizer_files=tokenizer.save)
    with serving(tmp_path / "long") as found:
        tab.open(found.address + "#position")
        tab.key("/")
        assert tab.value("document.activeElement.tagName") == "TEXTAREA"


def test_a_generation_that_is_cut_goes_on_by_itself(
    tab: Page, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []

    def cut_once(*arguments: Any) -> Generator[Any, None, None]:
        for number, line in enumerate(generating.events_of(*arguments)):
            if number == 3 and not cuts:
                cuts.append(number)
                server.server.cut()
                raise ConnectionError
            yield line

    monkeypatch.setattr(routes, "events_of", cut_once)
    tab.open(server.address + "#replay")
    assert cuts == [3]
    final = "({ kind }) => kind === 'commit' || kind === 'accept'"
    positions = f"({{ events }}) => events.filter({final}).map(({{ position }}) => position)"
    events = tab.value(f"[...microscope.replay.logs.values()].map({positions})")
    begin = tab.value("microscope.context.run.stacks[0].tokens.length")
    assert len(events) == 4
    assert all(positions == list(range(begin, begin + len(positions))) for positions in events), "no event twice"
    assert tab.value("[...microscope.replay.logs.values()].every((log) => log.figures && !log.error)")
    assert tab.value("document.getElementById('trouble').hidden")


def test_what_goes_wrong_while_writing_is_said(tab: Page, server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Generator[Any, None, None]:
        yield next(generating.events_of(*arguments))
        raise CutawayError("The memory is full.")

    monkeypatch.setattr(routes, "events_of", failing)
    tab.open(server.address + "#replay?text=a+dog")
    assert "The memory is full." in tab.value("document.getElementById('view-replay').innerText")
    assert tab.value("document.querySelectorAll('.proof tbody tr').length") == 1


@pytest.mark.parametrize("address", NONSENSE)
def test_an_address_with_nonsense_is_drawn(tab: Page, server: Serving, address: str) -> None:
    before = len(tab.browser.events)
    tab.open(server.address + address)
    thrown = [e for e in tab.browser.events[before:] if e.get("method") == "Runtime.exceptionThrown"]
    assert thrown == []
    view = address[1:].partition("?")[0]
    shown = f"view-{view}" if view in ("replay", "memory", "lessons") else "view-way"
    assert tab.value(f"document.getElementById('{shown}').checkVisibility()")
    assert len(tab.value(f"document.getElementById('{shown}').innerText")) > 100


def test_two_tabs_do_not_disturb_one_another(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#way?text=a+cat")
    first = tab.browser.session
    tab.open(server.address + "#way?text=the+dog+and+the+cat")
    second = tab.browser.session
    texts = []
    for session in (first, second):
        tab.browser.session = session
        tab.browser.ask("Page.bringToFront")
        tab.key("k")
        texts.append(tab.value("[microscope.context.run.text, microscope.context.place.i + 2]"))
    tab.browser.session = second
    assert [text for text, _ in texts] == ["a cat", "the dog and the cat"]
    assert [count for _, count in texts] == [len(trained("bpe").encode(text)) for text, _ in texts]


def test_the_page_says_that_the_model_is_being_opened(tab: Page, model: Path) -> None:
    may_go = threading.Event()

    def made() -> Answering:
        assert may_go.wait(30)
        return partial(routes.answer, Desk(Shelf(str(model))))

    opening = Opening(made)
    with listen(opening, "127.0.0.1", 0, None) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        opening.begin()
        tab.browser.visit(f"http://127.0.0.1:{listening.port}/")
        says = "document.querySelector('.says').textContent"
        tab.value(f"new Promise((d) => {{ const l = () => ({says} ? d() : setTimeout(l, 5)); l(); }})")
        assert tab.value(says) == "The model is being opened."
        may_go.set()
        tab.settle()
        assert "Click one to look at it" in tab.value(says)
        assert tab.value("microscope.looms[0].isPainted(true)")
        tab.value("location.href = 'about:blank'")
        listening.shutdown()


def test_two_stacks_read_no_words_and_many(tab: Page, tmp_path: Path) -> None:
    with serving(two_stacks(tmp_path / "pair")) as pair:
        tab.open(pair.address + "#way?text=+")
        assert "Nothing to look at yet" in tab.value("document.getElementById('trouble').textContent")
        tab.key("/")
        tab.write("the cat")
        tab.key("Enter")
        assert tab.value("document.getElementById('trouble').hidden")
        assert tab.value("microscope.context.run.text") == "the cat"
        long = "the+cat+and+the+dog+sat.+" * 45
        tab.open(pair.address + f"#way?text={long}&target=a+cat", height=2400)
        assert tab.value("microscope.context.run.stacks[0].tokens.length") > 256
        source, target = tab.value(SUMS.format(part="whole"))
        assert source + target == pytest.approx(1, abs=1e-3), "source and target together are the whole"
        assert source > 0.1
        tab.value("microscope.context.set({stack: 0, i: 270, c: 2})")
        tab.settle()
        assert tab.value(SUMS.format(part="whole")) == pytest.approx([1, 0], abs=1e-3)
        assert tab.value("microscope.looms[0].flow.threads[1].some((share) => share > 0)")
        assert "tokens after, " in tab.value("document.querySelector('.loom').innerText")


def two_stacks(place: Path) -> Path:
    """An encoder and a decoder that read 400 tokens."""
    tokenizer = trained("bpe")
    ids = TokenIds(decoder_start=tokenizer.roles.bos, eos=tokenizer.roles.eos)
    stacks = {"encoder": tiny.stack(), "decoder": tiny.stack()}
    made = tiny.model(tiny.config(**stacks, vocab_size=tokenizer.vocab_size, context=400, tokens=ids))
    checkpoint.save(place, made, tokenizer_files=tokenizer.save)
    return place
