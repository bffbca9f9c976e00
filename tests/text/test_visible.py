"""What a person sees of a token: exact marks, and a form that can be read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" cat", "␣cat"),
        ("a\n\tb", "a↵⇥b"),
        (b"\xe2\x82", "<e2><82>"),
        ("€".encode(), "€"),
        ("\x00\x1b", "<00><1b>"),
        ("\u200b\u00a0", "<e2><80><8b><c2><a0>"),
        ("␣", "<e2><90><a3>"),
        ("<|end|>", "<|end|>"),
        ("<e2>", "<3c>e2>"),
        (b"\xf0\x9f a", "<f0><9f>␣a"),
        ("\ud800", "<ed><a0><80>"),
        ("", ""),
    ],
)
def test_exact_forms(text: str | bytes, shown: str) -> None:
    assert visible(text) == shown


@given(data=st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_the_form_can_be_read_back(data: bytes) -> None:
    assert _read_back(visible(data)) == data


@given(pieces=st.lists(st.sampled_from([b"<", b"e2", b">", b"\xe2", b"\x82", b"\xac", b" ", "␣".encode()])))
def test_what_looks_like_a_mark_is_told_apart(pieces: list[bytes]) -> None:
    assert _read_back(visible(b"".join(pieces))) == b"".join(pieces)


def _read_back(shown: str) -> bytes:
    marks = {"␣": b" ", "↵": b"\n", "⇥": b"\t"}
    units = re.findall(r"<[0-9a-f]{2}>|.", shown, re.DOTALL)
    return b"".join(
        marks[unit] if unit in marks else bytes([int(unit[1:3], 16)]) if len(unit) == 4 else unit.encode()
        for unit in units
    )
