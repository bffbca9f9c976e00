"""Text <-> ids: exact round trips, text that is only text, exact bytes, roles, and errors that name what was wrong."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import processors

from cutaway.errors import CutawayError
from cutaway.text import SpecialPlan, SpecialRoles, Tokenizer, train_tokenizer
from cutaway.text.alphabet import CHARACTERS, spelled, unspelled

from .samples import DOCUMENTS, PLAN, sentencepiece, trained, unigram, wordpiece

KINDS = ("character", "word", "byte", "bpe")
any_text = st.text(st.characters(exclude_categories=["Cs"]))
near_specials = st.lists(st.sampled_from([*PLAN.tokens(), "<|", "|>", "<", "pad", " ", "\n", "é", "12"])).map("".join)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@settings(deadline=None, max_examples=200)
@given(text=any_text | near_specials)
def test_any_text_comes_back_exactly_and_gives_no_control_id(kind: str, text: str) -> None:
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert not {*tokenizer.roles.named().values(), *tokenizer.roles.spares} & set(ids)


@pytest.mark.parametrize("kind", ["character", "word"])
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_known_text_comes_back_exactly(kind: str, data: st.DataObject) -> None:
    tokenizer = trained(kind)
    words = ["cat", "Tom", "can’t", "it's", "365"] if kind == "word" else ["c", "T", "’", "é", "3", "🙂"]
    text = data.draw(st.lists(st.sampled_from([*words, " ", "\n", "\t", ".", ",", "漢字"])).map("".join))
    if kind == "word":  # words that touch are other words, which need not be known
        text = " ".join(data.draw(st.lists(st.sampled_from(words)))) + "\n, "
    ids = tokenizer.encode(text)
    assert tokenizer.roles.unk not in ids
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(any_text))
def test_a_batch_gives_the_ids_of_each_text(texts: list[str]) -> None:
    tokenizer = trained("bpe")
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_gives_the_ids_of_the_library_on_the_whole(kind: str) -> None:
    tokenizer = trained(kind)
    texts = [document * 2_000 for document in DOCUMENTS] + ["cat" * 70_000 + " \n cat  dog", "", "cat"]
    whole = Library.from_str(tokenizer.to_json())
    assert tokenizer.encode_batch(texts) == [whole.encode(text).ids for text in texts]


@settings(deadline=None, max_examples=100)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_decoding_joins_bytes_and_replaces_what_is_no_utf8(data: st.DataObject, kind: str) -> None:
    tokenizer = trained(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert tokenizer.decode(ids) == b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "replace")
    unspecial = [token_id for token_id in ids if not tokenizer.is_special(token_id)]
    assert tokenizer.decode(ids, skip_special=True) == tokenizer.decode(unspecial)


@pytest.mark.parametrize("kind", KINDS)
def test_specials_are_recognised_only_when_asked(kind: str) -> None:
    tokenizer = trained(kind)
    eos = tokenizer.roles.eos
    assert tokenizer.encode("cat<|endoftext|>", specials=True)[-1] == eos
    assert eos not in tokenizer.encode("cat<|endoftext|>")
    assert tokenizer.encode("cat", specials=True) == tokenizer.encode("cat")


def test_a_model_that_holds_control_tokens_as_pieces_does_not_make_them_from_text() -> None:
    tokenizer = unigram()
    library = Library.from_str(tokenizer.to_json())
    library.encode_special_tokens = True
    assert 1 in library.encode("a </s> a").ids, "the library alone turns the spelling into the control token"
    assert 1 not in tokenizer.encode("a </s> a")
    assert 1 not in tokenizer.encoding("a </s> a").ids
    assert tokenizer.decode(tokenizer.encode("a </s> a")) == "a </s> a"
    assert 1 in tokenizer.encode("a </s> a", specials=True)


def test_a_control_token_that_is_also_unk_is_not_made_from_text() -> None:
    eos = trained("bpe").roles.eos
    like_gpt2 = Tokenizer.from_json(trained("bpe").to_json(), SpecialRoles(bos=eos, eos=eos, unk=eos))
    assert eos not in like_gpt2.encode("cat<|endoftext|>")
    assert like_gpt2.encode("cat<|endoftext|>", specials=True)[-1] == eos


def test_nothing_is_added_around_a_text() -> None:
    library = Library.from_str(trained("bpe").to_json())
    library.post_processor = processors.TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", library.token_to_id("<|pad|>"))]
    )
    framed = Tokenizer(library)
    assert framed.encode("cat") == trained("bpe").encode("cat")
    assert "TemplateProcessing" in framed.to_json(), "the file keeps what other tools want"


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_tokens_and_tokens_of_ids(kind: str) -> None:
    tokenizer = trained(kind)
    for token_id in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(token_id)
        try:
            assert tokenizer.id_of(data.decode()) == token_id
        except UnicodeDecodeError:
            assert "<" in tokenizer.token_text(token_id)
    assert tokenizer.id_of("no such token") is None


def test_the_byte_is_the_id() -> None:
    assert trained("byte").encode("aé\n") == [97, 0xC3, 0xA9, 10]
    assert [trained("byte").token_bytes(byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]


def test_token_text_is_what_a_person_sees() -> None:
    tokenizer = trained("bpe")
    shown = [tokenizer.token_text(token_id) for token_id in tokenizer.encode(" the\n€")]
    assert shown == ["␣the", "↵", "<e2>", "<82>", "<ac>"]


def test_foreign_tokens_have_their_bytes() -> None:
    for tokenizer, spelling, data in (
        (sentencepiece(), "▁ab", b" ab"),
        (sentencepiece(), "b", b"b"),
        (sentencepiece(), "<0xE2>", b"\xe2"),
        (unigram(), "▁a", b" a"),
        (wordpiece(), "ab", b" ab"),
        (wordpiece(), "##ab", b"ab"),
    ):
        token_id = tokenizer.id_of(spelling)
        assert token_id is not None
        assert tokenizer.token_bytes(token_id) == data
    assert [tokenizer.kind for tokenizer in (sentencepiece(), unigram(), wordpiece())] == [
        "BPE",
        "Unigram",
        "WordPiece",
    ]


def test_the_alphabet_is_gpt2s() -> None:
    assert len(set(CHARACTERS)) == 256
    assert (spelled(b" cat\n"), unspelled("Ġcat"), unspelled("字")) == ("Ġcat\u010a", b" cat", "字".encode())


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_recognised(kind: str) -> None:
    assert trained(kind).kind == kind


def test_equality_copies_and_fingerprint() -> None:
    tokenizer = trained("bpe")
    again = Tokenizer.from_json(tokenizer.to_json(), tokenizer.roles)
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert Tokenizer.from_json(tokenizer.to_json()) != tokenizer, "the roles differ"
    assert trained("byte").fingerprint() != tokenizer.fingerprint()
    for copied in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert copied == tokenizer
        assert copied.encode("<|pad|>") == tokenizer.encode("<|pad|>") != [tokenizer.roles.pad]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(before=any_text, surrogate=st.integers(0xD800, 0xDFFF))
def test_a_lone_surrogate_is_refused(kind: str, before: str, surrogate: int) -> None:
    with pytest.raises(CutawayError, match=f"surrogate U\\+{surrogate:04X} at position {len(before)}"):
        trained(kind).encode(before + chr(surrogate))


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(CutawayError, match="takes text"):
        trained("bpe").encode(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="takes a list of texts"):
        trained("bpe").encode_batch("one text")


def test_an_unknown_character_is_named() -> None:
    tokenizer = train_tokenizer("character", ["abc\n"])
    with pytest.raises(CutawayError) as caught:
        tokenizer.encode("ab€c")
    for said in ("'€'", "U+20AC", "position 2", "4 characters: ↵ a b c"):
        assert said in str(caught.value)
    with pytest.raises(CutawayError, match="position 1 of text 2"):
        tokenizer.encode_batch(["abc", "a€"])
    with pytest.raises(CutawayError, match="position 1"):
        tokenizer.encoding("a€")


def test_an_unknown_word_is_named() -> None:
    tokenizer = train_tokenizer("word", ["a cat"], specials=SpecialPlan.none())
    with pytest.raises(CutawayError, match=r"word 'dog' at position 2.*3 words: ␣ a cat"):
        tokenizer.encode("a dog")


def test_unknown_words_become_unk_where_there_is_one() -> None:
    tokenizer = trained("word")
    assert tokenizer.encode("the zebra")[-1] == tokenizer.roles.unk


@pytest.mark.parametrize("token_id", [-1, 343, 10**12])
def test_an_id_without_token_is_refused(token_id: int) -> None:
    tokenizer = trained("bpe")
    for call in (tokenizer.token_bytes, tokenizer.token_text, lambda wrong: tokenizer.decode([1, wrong])):
        with pytest.raises(CutawayError, match=f"No token has the id {token_id}"):
            call(token_id)


def test_roles_name_only_what_exists() -> None:
    assert SpecialRoles(eos=5, spares=(7,)).named() == {"eos": 5}
    assert trained("bpe").roles.bos == trained("bpe").roles.eos is not None


def test_own_tokenizers_put_nothing_around_a_text() -> None:
    assert trained("bpe").frame == ((), ())
    assert wordpiece().frame == unigram().frame == ((), ())
