"""Replay in a browser: a text as it was written, pass by pass, from the events of every kind of decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cutaway.lm import load
from tests.apps.microscope.driver import Page
from tests.apps.microscope.serving import TEXT, Serving

Log = list[dict[str, Any]]
SHEET = """import("/views/sheet.js").then((module) => {{
  const {{ lines, masks }} = module.sheet({events}, {stood}), cells = lines.map(({{ cells }}) => cells);
  const said = cells.map((row) => row.map((cell) => cell && [cell.kind, cell.text, ...(cell.was === null ? [] : [cell.was])]));
  return [said, lines.map(({{ pass, fresh, lost }}) => [pass, fresh, lost]), masks];
}})"""
AFTER = (
    """import("/views/sheet.js").then((module) => module.idsAfter(module.sheet({events}), {line}, {begin}, {mask}))"""
)
SHOW = """(() => {{
  const {{ replay, context }} = microscope, begin = context.run.stacks[0].tokens.length;
  const events = {events}.map((event) => ({{ ...event, position: event.position - 4 + begin }}));
  replay.logs.set(replay.keyOf(0), {{ events, figures: null }});
  context.set({{ view: "replay", mode: 0, pass: 1e9 }});
}})()"""
STRUCK = "[...document.querySelectorAll('.proof tbody tr')].map((row) => row.querySelectorAll('{style}').length)"


def event(number: int, kind: str, position: int, text: str, probability: float | None = None) -> dict[str, Any]:
    """As the protocol has it; the id of a word is its length."""
    given = {"pass": number, "kind": kind, "position": position, "text": text, "probability": probability}
    is_gone = kind in ("reject", "remask")
    return {**given, "old": len(text) if is_gone or kind == "accept" else None, "new": None if is_gone else len(text)}


HYBRID = [
    event(1, "commit", 4, " tired", 0.2),
    event(1, "draft", 5, " and", 0.5),
    event(1, "draft", 6, " fell", 0.4),
    event(1, "draft", 7, " asleep", 0.3),
    event(2, "accept", 5, " and", 0.6),
    event(2, "reject", 6, " fell"),
    event(2, "reject", 7, " asleep"),
    event(2, "commit", 6, " went", 0.7),
    event(2, "draft", 7, " to", 0.5),
    event(2, "draft", 8, " bed", 0.5),
    event(4, "accept", 7, " to", 0.9),  # a pass that only drafts has no line
    event(4, "commit", 8, " sleep", 0.5),
]
DIFFUSION = [
    event(1, "commit", 8, ".", 0.9),
    event(1, "commit", 4, " tired", 0.5),
    event(2, "commit", 6, " fell", 0.4),
    event(3, "remask", 6, " fell", 0.05),
    event(3, "commit", 5, " and", 0.8),
    event(4, "commit", 7, " away", 0.6),
    event(4, "commit", 6, " went", 0.6),
]
HOLE = {"text": "?", "id": 99, "role": "mask"}
STOOD = [{"text": "A", "id": 1}, HOLE, {"text": " cat", "id": 4}, HOLE]
FILLED = [
    event(0, "remask", 2, " cat"),
    event(1, "commit", 3, " sat", 0.8),
    event(2, "commit", 1, " red", 0.4),
    event(2, "commit", 2, " dog", 0.4),
]


def sheet(tab: Page, events: Log, stood: list[dict[str, Any]] | None = None) -> Any:
    return tab.value(SHEET.format(events=json.dumps(events), stood=json.dumps(stood or [])))


def after(tab: Page, events: Log, line: int, begin: int = 4, mask: int | None = None) -> Any:
    return tab.value(AFTER.format(events=json.dumps(events), line=line, begin=begin, mask=json.dumps(mask)))


def show(tab: Page, events: Log) -> None:
    tab.value(SHOW.format(events=json.dumps(events)))
    tab.go("replay")


def test_a_generation_is_replayed_forward_and_back(tab: Page, server: Serving, model: Path) -> None:
    tab.open(server.address + "#replay")
    lm = load(str(model))
    ids, greedy = lm.tokenizer.encode(TEXT), []
    for _ in range(10):
        greedy.append(int(lm.logits([*ids, *greedy])[0, -1].argmax()))
    events = tab.value("[...window.microscope.replay.logs.values()][0].events.map((event) => event.new)")
    assert events == greedy[: len(events)]
    assert events
    rows = tab.value("document.querySelectorAll('.proof tbody tr').length")
    assert rows == len(events)
    tab.key("ArrowLeft")
    assert tab.value("document.querySelectorAll('.proof tr.yet').length") == 1
    tab.key("ArrowRight")
    assert tab.value("document.querySelectorAll('.proof tr.yet').length") == 0
    tab.value("microscope.context.set({pass: 3})")
    tab.settle()
    tab.value("document.querySelector('#view-replay a.link').click()")
    tab.settle()
    ends = tab.value("microscope.context.run.stacks[0].tokens.slice(-3).map((token) => token.id)")
    assert ends == greedy[:3], "the way begins with what pass 3 had written"


def test_what_is_looked_up_is_replayed_as_the_greedy_text(tab: Page, server: Serving) -> None:
    tab.open(server.address + "#replay?mode=3")
    assert tab.value("[...document.querySelectorAll('.modes b')].map((name) => name.innerText)") == [
        "Greedy", "Sampled", "Beam", "Lookup",
    ]  # fmt: skip
    said = """((mode) => {
      const { replay } = window.microscope, { events } = replay.log(mode);
      return events.filter(({ kind }) => kind === "accept" || kind === "commit").map((event) => event.new);
    })"""
    greedy, found = tab.value(f"{said}(0)"), tab.value(f"{said}(3)")
    assert len(greedy) > 5
    assert found[: len(greedy)] == greedy
    shown = tab.value("document.querySelector('.modes [aria-selected=true] dd').textContent")
    assert shown == tab.value("String(window.microscope.replay.log(3).figures.num_passes)")


def test_drafts_stand_ahead_and_rejected_ones_are_struck_out(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    lines, counts, masks = sheet(tab, HYBRID)
    assert lines == [
        [["commit", " tired"], ["draft", " and"], ["draft", " fell"], ["draft", " asleep"], None],
        [
            ["kept", " tired"],
            ["accept", " and"],
            ["commit", " went", " fell"],
            ["draft", " to", " asleep"],
            ["draft", " bed"],
        ],
        [["kept", " tired"], ["kept", " and"], ["kept", " went"], ["accept", " to"], ["commit", " sleep", " bed"]],
    ]
    assert (counts, masks) == ([[1, 1, 0], [2, 2, 0], [4, 2, 0]], False)
    assert [after(tab, HYBRID, line) for line in (1, 2, 3)] == [[6], [6, 4, 5], [6, 4, 5, 3, 6]], (
        "drafts are not text yet"
    )
    show(tab, HYBRID)
    assert tab.value(STRUCK.format(style=".e-draft")) == [3, 2, 0]
    assert tab.value(STRUCK.format(style=".e-reject")) == [0, 2, 1]
    assert tab.value(STRUCK.format(style=".e-accept")) == [0, 1, 1]
    assert tab.value("document.querySelector('.transport .second').textContent") == "pass 4 of 4"
    words = tab.value("document.querySelector('.proofkey').innerText")
    assert all(word in words for word in ("draft accepted", "rejected", "kept from earlier passes"))
    assert "not written yet" not in words


def test_a_draft_that_waits_for_its_verdict_stays_a_draft(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    events = [event(1, "draft", 1, "a", 0.5), event(2, "commit", 0, "be", 0.5), event(3, "accept", 1, "a", 0.6)]
    assert sheet(tab, events)[0] == [
        [None, ["draft", "a"]],
        [["commit", "be"], ["draft", "a"]],
        [["kept", "be"], ["accept", "a"]],
    ]


def test_masks_are_slots_that_fill_in_any_order(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    lines, counts, masks = sheet(tab, DIFFUSION)
    hole = ["mask", ""]
    assert lines == [
        [["commit", " tired"], hole, hole, hole, ["commit", "."]],
        [["kept", " tired"], hole, ["commit", " fell"], hole, ["kept", "."]],
        [["kept", " tired"], ["commit", " and"], ["remask", " fell", " fell"], hole, ["kept", "."]],
        [["kept", " tired"], ["kept", " and"], ["commit", " went"], ["commit", " away"], ["kept", "."]],
    ]
    assert (counts, masks) == ([[1, 2, 0], [2, 1, 0], [3, 1, 1], [4, 2, 0]], True)
    assert after(tab, DIFFUSION, 2) == [6], "without a mask the text ends at the first hole"
    assert after(tab, DIFFUSION, 2, mask=99) == [6, 99, 5, 99, 1]
    assert after(tab, DIFFUSION, 3, mask=99) == [6, 4, 99, 99, 1]
    assert after(tab, DIFFUSION, 2, begin=3, mask=99) == [], "what does not stand behind the text is not put there"
    show(tab, DIFFUSION)
    assert tab.value(STRUCK.format(style=".e-mask")) == [3, 2, 2, 0]
    assert tab.value(STRUCK.format(style=".e-reject")) == [0, 0, 1, 0]
    assert tab.value("[...document.querySelectorAll('.proof tbody td:last-child')].map((cell) => cell.innerText)") == [
        "2", "1", "1 − 1", "2",
    ]  # fmt: skip
    assert "not written yet" in tab.value("document.querySelector('.proofkey').innerText")


def test_holes_of_a_text_are_filled_between_what_stands(tab: Page, server: Serving) -> None:
    tab.open(server.address)
    lines, counts, masks = sheet(tab, FILLED, STOOD)
    assert lines == [
        [["mask", ""], ["remask", " cat", " cat"], ["mask", ""]],
        [["mask", ""], ["mask", ""], ["commit", " sat"]],
        [["commit", " red"], ["commit", " dog"], ["kept", " sat"]],
    ]
    assert (counts, masks) == ([[0, 0, 1], [1, 1, 0], [2, 2, 0]], True)
    lines, _, _ = sheet(tab, [event(1, "commit", 3, " sat"), event(2, "commit", 1, " red")], STOOD)
    assert [row[1] for row in lines] == [["kept", " cat"]] * 2, "a token of the text is no hole"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_sheet_with_every_kind_of_event_fits(tab: Page, server: Serving, width: int) -> None:
    tab.open(server.address, width=width)
    show(tab, [*HYBRID, *[{**each, "pass": each["pass"] + 4, "position": each["position"] + 5} for each in DIFFUSION]])
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.key("ArrowLeft")
    assert tab.value("document.querySelectorAll('.proof tr.yet').length") == 1
