"""What is read of a text: exactly the model's tokens, cut at the beginning where there are too many, each over its characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.apps.microscope import reading
from cutaway.apps.microscope.numbers import check_numbers, numbers
from cutaway.apps.microscope.reading import read
from cutaway.config import PositionConfig
from cutaway.errors import CutawayError
from cutaway.lens.tokens import tokens_of
from cutaway.lm import LM
from cutaway.text import Tokenizer
from tests import tiny
from tests.text.samples import sentencepiece, trained

from .served import TEXT, one_stack, served

KINDS = ("bpe", "byte", "sentencepiece")


def tokenizer_of(kind: str) -> Tokenizer:
    return sentencepiece() if kind == "sentencepiece" else trained(kind)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("ab cdé🙂\n\0", max_size=40), limit=st.integers(2, 24))
def test_the_last_tokens_of_any_text(kind: str, text: str, limit: int) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    found = read(tokenizer, text, limit, before=[3], after=[4])
    assert found.ids == [3, *ids[max(0, len(ids) - limit + 2) :], 4]
    assert [token.index for token in found.tokens] == list(range(len(found.tokens)))
    spans = tokenizer.encoding(text).offsets[len(ids) - len(found.tokens) + 2 :]
    assert [(token.start, token.end) for token in found.tokens[1:-1]] == spans
    assert all(token.start == token.end for token in (found.tokens[0], found.tokens[-1]))
    if len(ids) > limit - 2:
        assert found.cut is not None
        assert (found.cut.characters, found.cut.tokens, found.cut.kept) == (len(text), len(ids), limit - 2)
    else:
        assert found.cut is None


def test_joins_are_those_of_the_whole_text() -> None:
    tokenizer, text = trained("bpe"), "the cat and the dog, the cat"
    _, whole = tokens_of(tokenizer, text)
    for limit in range(1, len(whole) + 1):
        found = read(tokenizer, text, limit).tokens
        assert [(token.symbols, token.joins) for token in found] == [(t.symbols, t.joins) for t in whole[-limit:]]
    assert any(token.joins for token in whole)


def test_a_piece_without_a_border_has_tokens_without_joins() -> None:
    tokenizer = trained("bpe")
    for text in ("a" * 3000, "the cat " + "a" * 3000, "a" * 100_000):
        found = read(tokenizer, text, 300)
        assert found.ids == tokenizer.encode(text)[-300:]
        assert {token.end - token.start for token in found.tokens} == {1}
        assert (found.tokens[-1].end, found.tokens[-1].bytes) == (len(text), b"a")


def test_a_hundred_thousand_characters_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    taken = reading.tokens_of
    monkeypatch.setattr(reading, "tokens_of", lambda t, text: asked.append(len(text)) or taken(t, text))  # type: ignore[func-returns-value]
    found = read(trained("bpe"), "the cat and the dog " * 5000, 256)
    assert found.cut is not None
    assert (found.cut.characters, found.cut.kept, len(found.tokens)) == (100_000, 256, 256)
    assert max(asked) < 3000, "only what is shown is taken apart"


def test_what_is_added_stands_behind_exactly_as_it_is() -> None:
    tokenizer = trained("bpe")
    smile = tokenizer.encode("🙂")
    assert len(smile) > 1
    more = [*smile[:-1], smile[-1], tokenizer.encode("th")[0], 101]
    found = read(tokenizer, "the", 50, more=more)
    assert found.ids == [*tokenizer.encode("the"), *more]
    assert found.text == "the🙂" + tokenizer.decode(more[-2:])
    assert (found.tokens[-len(more)].start, found.tokens[-1].end) == (3, len(found.text))
    with pytest.raises(CutawayError, match="51 more tokens do not fit"):
        read(tokenizer, "the", 50, more=[101] * 51)


def test_a_generation_is_looked_into_at_its_own_tokens() -> None:
    with served(one_stack()) as (client, _):
        run = client.run(TEXT)
        lines = client.post(
            "/api/generate", run=run["run"], sampling={"temperature": 1}, max_tokens=4
        ).data.splitlines()
        assert len(lines) == 5
        more = [101, 102, 255]
        found = client.run(TEXT, more=more)
        assert [token["id"] for token in found["stacks"][0]["tokens"]][len(TEXT) :] == more
        assert found["stacks"][0]["tokens"][-1]["text"] == "<ff>"


def test_tokens_on_the_page_have_spaces_and_newlines_as_they_are() -> None:
    lm = LM(one_stack().model, trained("byte"), "bytes")
    with served(lm) as (client, _):
        tokens = client.run("a \n\t␣é")["stacks"][0]["tokens"]
        texts = client.get("/api/vocabulary").json["texts"]
    assert [token["text"] for token in tokens] == ["a", " ", "\n", "\t", "<e2>", "<90>", "<a3>", "<c3>", "<a9>"]
    assert [token["bytes"] for token in tokens[:3]] == ["61", "20", "0a"]
    assert (texts[32], texts[10], texts[200]) == (" ", "\n", "<c8>")
    assert len(texts) == lm.config.vocab_size


def test_a_table_of_positions_bounds_the_text_and_others_have_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.microscope.passes.MOST_TOKENS", 60)
    text = "".join(chr(97 + index % 26) for index in range(100))
    for kind, most in (("sinusoidal", 48), ("rotary", 60)):
        with served(one_stack(tiny.stack(position=PositionConfig(kind=kind)))) as (client, _):
            run = client.run(text)
            assert run["cut"] == {"characters": 100, "tokens": 100, "kept": most}
            assert "".join(token["text"] for token in run["stacks"][0]["tokens"]) == text[-most:]
            assert run["text"] == text


@pytest.mark.parametrize(
    "text", ["\0", "\u202e", "e\u0301\u0327" * 5, "🏳️‍🌈", "\ufeff", "\u2028", "a\r\nb", "\U0010ffff"]
)
def test_unusual_texts_are_texts(text: str) -> None:
    with served(one_stack()) as (client, _):
        run = client.run(text)
        assert bytes.fromhex("".join(token["bytes"] for token in run["stacks"][0]["tokens"])) == text.encode()


def test_a_model_without_a_tokenizer_reads_its_ids() -> None:
    lm = LM(one_stack().model, None, "bare")
    with served(lm) as (client, _):
        run = client.run("5 0  262")
        assert [token["id"] for token in run["stacks"][0]["tokens"]] == [5, 0, 262]
        assert [token["text"] for token in run["stacks"][0]["tokens"]] == [" 5", " 0", " 262"]
        assert "came without a tokenizer" in run["stacks"][0]["rule"]
        assert run["model"]["has_tokenizer"] is False
        assert client.get("/api/vocabulary").json["texts"][:2] == [" 0", " 1"]
        assert client.post("/api/embedding", run=run["run"], token=1).json["neighbours"]
        said = client.post("/api/generate", run=run["run"], sampling={"temperature": 0}, max_tokens=3).data.splitlines()
        assert len(said) == 4
        for wrong in ("263", "-1", "a", "1.5", "05", "1,2"):
            assert "is no id of this model" in client.post("/api/run", text=wrong).json["error"]


def test_numbers_are_words() -> None:
    tokenizer = numbers(12)
    assert tokenizer.encode("11 0 3") == [11, 0, 3]
    assert tokenizer.decode([11, 0, 3]) == "11 0 3"
    check_numbers(" 1 2 ", 3)
    with pytest.raises(CutawayError, match="'3' is no id"):
        check_numbers("1 3", 3)
