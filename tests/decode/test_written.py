"""Text from events that come out of order: what was there stays, and an end ends a text behind all of it."""

from __future__ import annotations

from cutaway.decode import Event, WrittenText
from cutaway.text import train_tokenizer


def test_an_end_in_a_hole_does_not_take_away_what_stands_behind() -> None:
    """The places 1 and 3 are holes, and the text goes on behind 4; an end that was there ends nothing either."""
    words = train_tokenizer("byte", [])
    a, b, c = words.encode("abc")
    end = words.roles.eos
    assert end is not None
    text = WrittenText(words, there={2: b, 4: end}, first=1, ends=[end])
    said = [
        text.push(Event("commit", place, None, token, 0.5)) for place, token in ((3, c), (1, end), (5, a), (6, end))
    ]
    assert said == [("", False), ("bc", False), ("a", False), ("", True)]
