"""Stop strings: whatever the borders of the pieces, the text ends where a search of the whole text says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cutaway.decode import StopText
from cutaway.errors import CutawayError

TEXTS = st.text("aab ", max_size=12)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text before the first stop to be complete, letter by letter; the longest of those that end together."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@given(st.lists(TEXTS), st.lists(st.text("ab ", min_size=1, max_size=5), max_size=4))
@example(["ab", "c"], ["abcd", "bc"])
@example(["aaab"], ["aab"])
def test_any_pieces_give_what_a_full_search_gives(pieces: list[str], stops: list[str]) -> None:
    watcher, shown, is_stopped = StopText(stops), "", False
    text, want = "", naive("".join(pieces), stops)
    for piece in pieces:
        safe, is_stopped = watcher.push(piece)
        text, shown = text + piece, shown + safe
        assert (want[0] if is_stopped else text).startswith(shown)
        assert is_stopped == naive(text, stops)[1], "a stop is noticed as soon as it is complete"
        if not is_stopped:
            could_stop = [stop for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])]
            assert len(text) - len(shown) <= max((len(stop) - 1 for stop in could_stop), default=0), (
                "no more is held back"
            )
    assert (shown + watcher.finish(), is_stopped) == want


def test_text_that_could_be_a_stop_is_held_back() -> None:
    watcher = StopText(["<end>"])
    assert watcher.push("so <e") == ("so ", False)
    assert watcher.push("h <en") == ("<eh ", False)
    assert watcher.push("d> more") == ("", True)
    assert watcher.push("more") == ("", True)
    assert watcher.finish() == ""


def test_without_stops_nothing_is_held_back() -> None:
    assert StopText([]).push("abc") == ("abc", False)


def test_impossible_stops_are_refused() -> None:
    with pytest.raises(CutawayError, match="A stop string is empty"):
        StopText(["a", ""])
    with pytest.raises(CutawayError, match="Give a list of texts"):
        StopText("END")
