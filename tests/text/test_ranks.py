"""tiktoken's ranks: the ids and texts of tiktoken, how text is cut, and files that are none."""

from __future__ import annotations

import base64
import json
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

from cutaway.errors import CutawayError
from cutaway.text import StreamDecoder, Tokenizer
from cutaway.text.alphabet import CHARACTERS, unspelled
from cutaway.text.formats.cuts import CUTS
from cutaway.text.formats.ranks import read_tiktoken

from .torture import TEXTS, TRAINING

SPECIALS = ("<|endoftext|>", "<|im_start|>")
# As tiktoken 0.14 publishes them.
PATTERNS = {
    "r50k_base": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    "cl100k_base": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
        r"""|\s+(?!\S)|\s"""
    ),
    "o200k_base": "|".join(
        [
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""\p{N}{1,3}""",
            r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
            r"""\s*[\r\n]+""",
            r"""\s+(?!\S)""",
            r"""\s+""",
        ]
    ),
}


@cache
def trained() -> dict[bytes, int]:
    """Token -> rank of a byte-pair model that merges across everything."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=list(CHARACTERS), show_progress=False)
    library.train_from_iterator([*TRAINING, " " * 40 + "\n" * 9], trainer)
    return {unspelled(token): rank for token, rank in library.get_vocab().items()}


def lines(ranks: dict[bytes, int]) -> str:
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())


def opened(content: str, config: dict[str, object] | None = None, name: str = "a.tiktoken") -> Tokenizer:
    with TemporaryDirectory() as directory:
        (Path(directory) / name).write_text(content)
        if config is not None:
            (Path(directory) / "tokenizer_config.json").write_text(json.dumps(config))
        return Tokenizer.load(directory)


def declared(cut: str) -> dict[str, object]:
    ids = {token: len(trained()) + 3 + index for index, token in enumerate(SPECIALS)}
    decoder = {str(token_id): {"content": token, "special": True} for token, token_id in ids.items()}
    return {"pat_str": cut, "added_tokens_decoder": decoder, "eos_token": "<|endoftext|>"}


@pytest.mark.parametrize("written", ["name", "pattern"])
@pytest.mark.parametrize("cut", PATTERNS)
def test_tiktoken_gives_the_same(cut: str, written: str) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ours = opened(lines(trained()), declared(cut if written == "name" else PATTERNS[cut]))
    specials = {token: ours.id_of(token) for token in SPECIALS}
    theirs = tiktoken.Encoding(cut, pat_str=PATTERNS[cut], mergeable_ranks=trained(), special_tokens=specials)
    draw = random.Random(1)
    characters = [character for text in TEXTS for character in text] + ["  ", "\r\n", "\n ", "'s", "'LL", "1"]
    noise = ["".join(draw.choices(characters, k=draw.randint(1, 20))) for _ in range(1000)]
    for text in (*TEXTS, *noise):
        ids = theirs.encode(text, disallowed_special=())
        assert ours.encode(text) == ids, text
        assert ours.decode(ids) == theirs.decode(ids) == text
        assert ours.encode(text, specials=True) == theirs.encode(text, allowed_special="all")


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = loaded()
    ids = tokenizer.encode(text)
    stream = StreamDecoder(tokenizer)
    assert tokenizer.decode(ids) == "".join(map(stream.push, ids)) + stream.finish() == text


@cache
def loaded() -> Tokenizer:
    return opened(lines(trained()), declared("o200k_base"))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    tokenizer = loaded()
    assert tokenizer.kind == "bpe"
    assert tokenizer.roles.eos == len(trained()) + 3
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path) == tokenizer


def test_the_name_of_the_file_says_the_cut_and_the_special_tokens() -> None:
    tokenizer = opened(lines(trained()), name="cl100k_base.tiktoken")
    assert tokenizer.encode("1234") == opened(lines(trained()), {"pat_str": "cl100k_base"}).encode("1234")
    assert tokenizer.roles.eos == tokenizer.id_of("<|endoftext|>") == len(trained()) + 1
    assert opened(lines(trained()), {"pat_str": "cl100k_base"}, name="tokenizer.model").kind == "bpe"


def test_the_number_of_ranks_says_the_cut_and_the_special_tokens(tmp_path: Path) -> None:
    """Only as many ranks as a published encoding: its tokens themselves do not ship."""
    ranks = {**{bytes([byte]): byte for byte in range(256)}}
    ranks |= {bytes([index >> 16, index >> 8 & 255, index & 255]): index for index in range(256, 128_000)}
    (tmp_path / "tokenizer.model").write_text(lines(ranks))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.roles.bos == tokenizer.id_of("<|begin_of_text|>") == len(ranks)
    assert tokenizer.id_of("<|eot_id|>") == len(ranks) + 9


ALL = {bytes([byte]): byte for byte in range(256)}


@pytest.mark.parametrize(
    ("content", "config", "said"),
    [
        ("", None, "256 of the 256 bytes have no rank"),
        ("!!!! 0\n", None, "line 1 begins with '!!!!', which is no base64"),
        ("YQ= 0\n", None, "no base64"),
        ("YQ== \n", None, "has the rank ''"),
        ("YQ== x\n", None, "has the rank 'x'"),
        ("YQ== -1\n", None, "has the rank '-1'"),
        ("YQ== 1 2\n", None, "has the rank '1 2'"),
        ("YQ== " + "9" * 5000, None, "has the rank '999"),
        ("YQ== 99999999\n", None, "has the rank '99999999'"),
        (" 5\n", None, "a token of 0 bytes"),
        (f"{'YWFh' * 200} 5\n", None, "a token of 600 bytes"),
        (lines(ALL) + "YQ== 999\n", None, "line 257 gives the token b'a' a second rank"),
        (lines({**ALL, b"ab": 7}), None, "share the rank 7"),
        (lines(ALL), None, 'Write "pat_str" into a tokenizer_config.json'),
        (lines(ALL), {"pat_str": "cl100k"}, "unknown encoding 'cl100k'"),
        (lines(ALL), {"pat_str": "(["}, "no regular expression"),
        (lines(ALL), {"pat_str": 5}, "pat_str is 5"),
        (lines(ALL), {"pat_str": "a" * 10_000}, "pat_str is 'aaa"),
    ],
)
def test_a_file_that_holds_no_ranks_is_refused(
    content: str, config: dict[str, object] | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tiktoken").write_text(content)
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_mutated_file_opens_or_is_refused(data: st.DataObject) -> None:
    content = bytearray(lines({**ALL, b"ab": 256, b"abc": 257}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as directory:
        file = Path(directory) / "r50k_base.tiktoken"
        file.write_bytes(content)
        try:
            Tokenizer(read_tiktoken(file).made).encode("abcab abc")
        except CutawayError:
            return


def test_every_published_pattern_is_known() -> None:
    assert set(PATTERNS) <= set(CUTS)
