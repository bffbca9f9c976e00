"""The stream of text joined is the one-shot decode, and what was given out never changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.text import StreamDecoder, Tokenizer

from .samples import sentencepiece, trained, unigram, wordpiece

TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "character": lambda: trained("character"),
    "word": lambda: trained("word"),
    "byte": lambda: trained("byte"),
    "bpe": lambda: trained("bpe"),
    "sentencepiece": sentencepiece,
    "unigram": unigram,
    "wordpiece": wordpiece,
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=200)
@given(data=st.data(), skip_special=st.booleans())
def test_any_ids_stream_to_their_decode(name: str, data: st.DataObject, skip_special: bool) -> None:
    tokenizer = TOKENIZERS[name]()
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert_streams(tokenizer, ids, skip_special)


@settings(deadline=None, max_examples=300)
@given(
    data=st.lists(
        st.sampled_from([b"\xe2", b"\x82", b"\xac", b"\xf0", b"\x9f", b"\x99", b"\xed", b"\xa0", b"\xc0", b"a"])
    )
)
def test_broken_utf8_streams_to_its_decode(data: list[bytes]) -> None:
    ids = list(b"".join(data))
    assert_streams(trained("byte"), ids, skip_special=False)
    fallback = sentencepiece()
    assert_streams(fallback, [fallback.id_of(f"<0x{byte:02X}>") or 0 for byte in ids], skip_special=False)


def assert_streams(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> None:
    stream = StreamDecoder(tokenizer, skip_special)
    whole = tokenizer.decode(ids, skip_special)
    given_out = ""
    for token_id in ids:
        given_out += stream.push(token_id)
        assert whole.startswith(given_out)
    assert given_out + stream.finish() == whole


def test_a_character_is_given_out_when_its_last_byte_has_come() -> None:
    stream = StreamDecoder(trained("byte"))
    assert [stream.push(byte) for byte in "a🙂b".encode()] == ["a", "", "", "", "🙂", "b"]


def test_an_incomplete_character_waits_and_is_replaced_at_the_end() -> None:
    stream = StreamDecoder(trained("byte"))
    assert [stream.push(0xF0), stream.push(0x9F)] == ["", ""]
    assert stream.finish() == "\ufffd"
    assert [stream.push(ord("a")), stream.finish()] == ["a", ""], "the decoder starts anew"


def test_a_token_with_text_does_not_wait() -> None:
    stream = StreamDecoder(sentencepiece())
    ids = [sentencepiece().id_of(token) for token in ("▁ab", "▁a", "b")]
    assert [stream.push(token_id) for token_id in ids if token_id is not None] == ["ab", " a", "b"]


def test_an_id_without_token_is_refused() -> None:
    with pytest.raises(CutawayError, match="No token has the id 99999"):
        StreamDecoder(trained("bpe")).push(99999)
