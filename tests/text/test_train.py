"""Training: sizes, the order of ids, special tokens, words kept whole, determinism, and options that make no sense."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.text import SpecialPlan, default_plan, train_tokenizer
from cutaway.text.kept import keep_whole, vocabulary_of
from cutaway.text.merges import merged

from .samples import DOCUMENTS, PLAN, trained


def test_characters_take_the_ids_of_their_order_and_nothing_else_is_added() -> None:
    tokenizer = train_tokenizer("character", ["hello", " world\n"])
    assert "".join(tokenizer.token_bytes(token_id).decode() for token_id in range(tokenizer.vocab_size)) == "\n dehlorw"
    assert tokenizer.roles.named() == {}


def test_words_take_the_ids_of_their_counts() -> None:
    tokenizer = train_tokenizer("word", ["b a b", "b,b c"], specials=SpecialPlan.none())
    assert [tokenizer.token_text(token_id) for token_id in range(tokenizer.vocab_size)] == ["b", "␣", ",", "a", "c"]


def test_words_keep_apostrophes_and_part_with_everything_else() -> None:
    tokenizer = trained("word")
    ids = tokenizer.encode("Tom, can’t: it's\n\n365")
    assert [tokenizer.token_text(token_id) for token_id in ids] == [
        "Tom",
        ",",
        "␣",
        "can’t",
        ":",
        "␣",
        "it's",
        "↵",
        "↵",
        "365",
    ]


@pytest.mark.parametrize("kind", ["character", "word", "byte", "bpe"])
def test_special_tokens_take_the_last_ids_in_the_order_of_the_plan(kind: str) -> None:
    plan = SpecialPlan(unk=kind in ("character", "word"), num_spares=2)
    tokenizer = train_tokenizer(kind, DOCUMENTS, specials=plan, vocab_size=300 if kind == "bpe" else None)
    names = [tokenizer.token_text(token_id) for token_id in range(tokenizer.vocab_size)][-len(plan.tokens()) :]
    expected = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    assert names == ["<unk>"] * plan.unk + expected + ["<|spare_0|>", "<|spare_1|>"]
    roles = tokenizer.roles
    assert roles.spares == (tokenizer.vocab_size - 2, tokenizer.vocab_size - 1)
    for role in ("pad", "mask", "system", "user", "assistant", "end"):
        assert tokenizer.token_text(roles.named()[role]) == f"<|{role}|>"
    assert roles.bos == roles.eos == tokenizer.id_of("<|endoftext|>")


def test_the_vocabulary_has_the_size_asked_for() -> None:
    assert train_tokenizer("bpe", DOCUMENTS, vocab_size=320, specials=PLAN, min_frequency=1).vocab_size == 320
    assert train_tokenizer("bpe", ["a"], vocab_size=320, specials=PLAN).vocab_size == 256 + 10, (
        "a small text gives fewer"
    )
    smallest = 256 + len(default_plan("bpe").tokens())
    assert train_tokenizer("bpe", DOCUMENTS, vocab_size=smallest).vocab_size == smallest
    unk = SpecialPlan(unk=True, end_of_text=False, pad=False, mask=False, chat=False)
    words = train_tokenizer("word", ["b a b a b c"], vocab_size=3, specials=unk)
    assert [words.token_text(token_id) for token_id in range(3)] == ["␣", "b", "<unk>"]
    characters = train_tokenizer("character", ["cbbaaa"], vocab_size=3, specials=unk)
    assert characters.encode("abc") == [0, 1, 2]


@pytest.mark.parametrize("kind", ["character", "word"])
def test_no_room_and_no_unk_is_refused(kind: str) -> None:
    with pytest.raises(CutawayError, match="at least 3"):
        train_tokenizer(kind, ["a b"], vocab_size=2, specials=SpecialPlan.none())


KEPT = ("cat", "dog", "apple", "bicycle", "love", "chased", "I", "you", "papapapapa", "Été")


def test_kept_words_are_one_token_bare_and_behind_a_space() -> None:
    tokenizer = train_tokenizer("bpe", DOCUMENTS, vocab_size=340, specials=PLAN, keep_words=KEPT)
    assert tokenizer.vocab_size == 340
    for word in KEPT:
        assert len(tokenizer.encode(word)) == 1
        assert len(tokenizer.encode(f"see {word}")) == len(tokenizer.encode("see")) + 1
    plain = train_tokenizer("bpe", DOCUMENTS, vocab_size=340, specials=PLAN)
    assert any(len(plain.encode(word)) > 1 for word in KEPT), "the words would not be whole by themselves"


def test_kept_words_leave_the_merges_that_stay_alone() -> None:
    plain = train_tokenizer("bpe", DOCUMENTS, vocab_size=350, min_frequency=1)
    kept = train_tokenizer("bpe", DOCUMENTS, vocab_size=350, min_frequency=1, keep_words=["bicycle"])
    assert kept.vocab_size == plain.vocab_size == 350
    places = zip(plain.merge_ranks, kept.merge_ranks, strict=True)
    num_same = next(index for index, (one, other) in enumerate(places) if one != other)
    behind = ["".join(pair) for pair in list(kept.merge_ranks)[num_same:]]
    assert all(symbol.removeprefix("Ġ") in "bicycle" for symbol in behind)
    assert len(behind) < 2 * len("bicycle")


@settings(deadline=None, max_examples=200)
@given(
    merges=st.lists(st.sampled_from(["ab", "ba", "aa", "bc", "cb", "bb"]).map(tuple), unique=True),
    pieces=st.lists(st.text("abc", min_size=1, max_size=9), max_size=5),
    room=st.integers(256, 300),
)
def test_whatever_was_trained_pieces_are_kept(merges: list[tuple[str, str]], pieces: list[str], room: int) -> None:
    alone = keep_whole([], pieces, room=10**6)
    if len(vocabulary_of(alone)) > room:
        return
    kept = keep_whole(merges, pieces, room)
    assert len(vocabulary_of(kept)) <= room
    ranks = {pair: rank for rank, pair in enumerate(kept)}
    assert [merged(piece, ranks) for piece in pieces] == [(piece,) for piece in pieces]


def test_kept_words_of_a_word_tokenizer() -> None:
    tokenizer = train_tokenizer("word", ["a b a c"], vocab_size=12, keep_words=["zebra"])
    assert tokenizer.roles.unk not in tokenizer.encode("zebra")


@pytest.mark.parametrize("word", ["ice-cream", "two words", "", " cat", "cat7"])
def test_a_word_that_the_cut_parts_cannot_be_kept(word: str) -> None:
    with pytest.raises(CutawayError, match="keep_words"):
        train_tokenizer("bpe", DOCUMENTS, vocab_size=380, keep_words=[word])


def test_too_many_words_to_keep() -> None:
    with pytest.raises(CutawayError, match="larger vocab_size or fewer words"):
        train_tokenizer("bpe", DOCUMENTS, vocab_size=265, keep_words=["extraordinary"])


def test_training_is_the_same_in_every_process() -> None:
    code = (
        "from cutaway.text import train_tokenizer; from tests.text.samples import DOCUMENTS\n"
        "for kind in ('word', 'bpe'): print(train_tokenizer(kind, DOCUMENTS, vocab_size=340, "
        "min_frequency=1, keep_words=['bicycle', 'apple']).fingerprint())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert len({run.stdout for run in runs}) == 1
    assert len(runs[0].stdout.split()) == 2


def test_min_frequency_leaves_rare_pairs_and_words_apart() -> None:
    text = ["seldom often often often"]
    assert len(train_tokenizer("bpe", text, vocab_size=300, min_frequency=2).encode("seldom")) == 6
    assert len(train_tokenizer("bpe", text, vocab_size=300, min_frequency=1).encode("seldom")) == 1
    words = train_tokenizer("word", text, min_frequency=2)
    assert words.encode("seldom") == [words.roles.unk]


SAID = ("Mary went to the hall. ", "John went to the hall. ", "Mary went to the den. ", "Where is Mary?\n")


def test_merges_within_sentences_join_words_and_never_two_sentences() -> None:
    documents = ["".join(SAID[(number * step) % 4] for number in range(9)) for step in (1, 3, 5, 7)]
    tokenizer = train_tokenizer("bpe", documents, vocab_size=330, merges="sentences")
    words = train_tokenizer("bpe", documents, vocab_size=330)
    tokens = [tokenizer.spelling(token_id) for token_id in range(tokenizer.vocab_size)]
    assert any("Ġwent" in token and "hall" in token for token in tokens)
    assert not any(
        token.rstrip("Ċ").find(mark, 0, -1) >= 0 for token in tokens[256:] for mark in ".?" if token[0] != "<"
    )
    for text in (*documents, "", ".", "Ah! 3.14?!\n\n  x\t.é", "No end", "…\r\n日本。"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]
    assert 2 * len(tokenizer.encode(documents[0])) < len(words.encode(documents[0]))
    assert tokenizer.kind == "bpe"


def test_a_long_text_of_sentences_is_encoded_as_a_whole() -> None:
    tokenizer = train_tokenizer("bpe", SAID * 9, vocab_size=300, merges="sentences")
    long = "x " * 40_000 + "Mary went to the hall."
    assert tokenizer.encode_batch([long]) == [tokenizer.encode(long)]
    assert tokenizer.decode(tokenizer.encode(long)) == long


def test_a_generator_is_read_once() -> None:
    assert train_tokenizer("bpe", iter(DOCUMENTS), vocab_size=340, specials=PLAN) == trained("bpe")


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "no text"),
        (["", ""], "no text"),
        ("one text", "one text"),
        (["ok", "\udc80"], "surrogate"),
        ([3], "takes text"),
    ],
)
def test_bad_documents_are_refused(kind: str, documents: object, said: str) -> None:
    with pytest.raises(CutawayError, match=said):
        train_tokenizer(kind, documents, vocab_size=300)  # type: ignore[arg-type]


def test_options_that_make_no_sense_are_refused() -> None:
    wrong = [
        ({"kind": "bpee", "vocab_size": 300}, "Did you mean 'bpe'"),
        ({"kind": "bpe"}, "needs a vocab_size"),
        ({"kind": "bpe", "vocab_size": 262}, "at least 263"),
        ({"kind": "byte", "vocab_size": 100}, "at least 263"),
        ({"kind": "byte", "specials": SpecialPlan(unk=True)}, "knows every text"),
        ({"kind": "byte", "keep_words": ["cat"]}, "no meaning"),
        ({"kind": "character", "min_frequency": 3}, "no meaning"),
        ({"kind": "word", "min_frequency": 0}, "at least 1"),
        ({"kind": "word", "vocab_size": 8}, "8 special tokens needs at least 9"),
        ({"kind": "word", "keep_words": "cat"}, "list of words"),
        ({"kind": "word", "merges": "sentences"}, "for bpe tokenizers without keep_words"),
        ({"kind": "bpe", "vocab_size": 400, "merges": "sentences", "keep_words": ["cat"]}, "without keep_words"),
        ({"kind": "bpe", "vocab_size": 400, "merges": "word"}, "Did you mean 'words'"),
        ({"kind": "word", "vocab_size": 9, "keep_words": ["a", "b"]}, "names 2 words"),
    ]
    for options, said in wrong:
        with pytest.raises(CutawayError, match=said):
            train_tokenizer(documents=DOCUMENTS, **options)  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="num_spares is -1"):
        SpecialPlan(num_spares=-1)
