"""SentencePiece's models: the ids and texts of the library that trained them, and files that are none."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from cutaway.errors import CutawayError
from cutaway.text import StreamDecoder, Tokenizer
from cutaway.text.formats.charsmap import CharsmapError, check_charsmap
from cutaway.text.formats.sentencepiece import read_model

from .torture import TEXTS, TRAINING

KINDS = ("unigram", "bpe")
PLAIN = {"normalization_rule_name": "identity"}
SETTINGS: tuple[dict[str, object], ...] = (
    {},  # nmt_nfkc
    {"normalization_rule_name": "nmt_nfkc_cf"},
    {"normalization_rule_name": "nfkc", "byte_fallback": True},
    {**PLAIN, "byte_fallback": True, "remove_extra_whitespaces": False},
    {**PLAIN, "add_dummy_prefix": False},
    {**PLAIN, "treat_whitespace_as_suffix": True},
    {"split_by_whitespace": False},
    {"pad_id": 3, "control_symbols": ["<ctl>"], "bos_id": -1},
)
MARKS = (
    "\u00ea\u0323 \u1ec7 Vie\u0302\u0323t Vi\u00ea\u0323t e\u0302\u0301 e\u0323\u0302 \u00aa\u0300 \u00ef\u0301",
    "\u0645\u0651\u064e\u0627 \u0651\u064e \u064e\u0651 \u05e9\u05c1\u05b8\u05dc\u05b8 \u05e9\u05b8\u05c1",
    "A\u0e33 \r\n \u1112\u1161\u11ab \ud558\u11ab \uac00\u11a8 \u30ab\u3099 \uff76\uff9e \u0915\u093c \u0958 \u0e19\u0e33 \u212b",
)
USERS = ("<sep>a b<sep> c", "a<sep>", " a <sep>", "<sep>", "<ctl>x")


@cache
def trained(kind: str, number: int) -> bytes:
    """A `.model` of SETTINGS[number], trained by SentencePiece."""
    sentencepiece = pytest.importorskip("sentencepiece")
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING),
        model_writer=out,
        model_type=kind,
        vocab_size=1000,
        user_defined_symbols=["<sep>"],
        minloglevel=2,
        **({"hard_vocab_limit": False} if kind == "unigram" else {}),
        **SETTINGS[number],
    )
    return out.getvalue()


def opened(model: bytes, name: str = "tokenizer.model", **beside: object) -> Tokenizer:
    """The tokenizer of a directory with the model and JSON files beside it."""
    with TemporaryDirectory() as directory:
        (Path(directory) / name).write_bytes(model)
        for stem, content in beside.items():
            (Path(directory) / f"{stem}.json").write_text(json.dumps(content))
        return Tokenizer.load(directory)


def random_texts(count: int) -> list[str]:
    """Characters of the torture texts, thrown together."""
    draw = random.Random(1)
    characters = [character for text in (*TEXTS, *MARKS) for character in text] + [
        "<sep>",
        "  ",
        "\u0301",
        "\u0323",
        "\u0302",
    ]
    return ["".join(draw.choices(characters, k=draw.randint(1, 14))) for _ in range(count)]


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda number: str(SETTINGS[number]) or "default")
@pytest.mark.parametrize("kind", KINDS)
def test_the_library_gives_the_same(kind: str, number: int) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = trained(kind, number)
    theirs, ours = sentencepiece.SentencePieceProcessor(model_proto=model), opened(model)
    unequal = []
    for text in [*TEXTS, *MARKS, *USERS, *random_texts(1500)]:
        ids = theirs.encode(text)
        if ours.encode(text) != ids and not _is_a_tie(theirs, ids, ours.encode(text)):
            unequal.append(text)
        if theirs.unk_id() not in ids:
            # SentencePiece drops every space at the start; a stream could not, so one is dropped here.
            assert ours.decode(ids).lstrip(" ") == theirs.decode(ids).lstrip(" ")
    assert unequal == []
    assert ours.vocab_size == len(theirs)
    assert [ours.spelling(token_id) for token_id in range(len(theirs))] == theirs.id_to_piece(list(range(len(theirs))))


def _is_a_tie(theirs: object, ids: list[int], others: list[int]) -> bool:
    """Whether two ways to cut a text are equally probable: then 32 bits (theirs) and 64 (ours) may choose differently."""
    scores = [sum(theirs.get_score(token_id) for token_id in way) for way in (ids, others)]  # type: ignore[attr-defined]
    return theirs.decode(ids) == theirs.decode(others) and abs(scores[0] - scores[1]) < 1e-3  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_roles_are_known_and_what_is_saved_is_loaded(kind: str, tmp_path: Path) -> None:
    tokenizer = opened(trained(kind, 7), "spiece.model")
    roles = tokenizer.roles
    assert (roles.unk, roles.bos, roles.eos, roles.pad) == (0, None, 2, 3)
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded == tokenizer
    assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "any.spm").write_bytes(trained(kind, 7))
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.load(tmp_path / "any.spm") == tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_spells_a_control_token(kind: str) -> None:
    tokenizer = opened(trained(kind, 0))
    for text in ("<s>", "</s> a", "x<unk>y</s>"):
        assert not {tokenizer.roles.bos, tokenizer.roles.eos} & set(tokenizer.encode(text))
    assert tokenizer.encode("a</s>", specials=True)[-1] == tokenizer.roles.eos


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_declared_beside_it_follow_the_pieces(kind: str) -> None:
    model = trained(kind, 3)
    size = opened(model).vocab_size
    tokenizer = opened(
        model,
        added_tokens={"<tool>": size + 2},
        special_tokens_map={"pad_token": "<pad>", "eos_token": {"content": "</s>"}},
        tokenizer_config={"add_bos_token": True, "add_eos_token": True, "additional_special_tokens": ["<|im_end|>"]},
    )
    assert [tokenizer.id_of(token) for token in ("<tool>", "<pad>", "<|im_end|>")] == [size + 2, size + 3, size + 4]
    assert tokenizer.roles.pad == size + 3
    assert tokenizer.encode("the <tool> cat")[:3].count(size + 2) == 1
    framed = Library.from_str(tokenizer.to_json()).encode("cat").ids
    assert (framed[0], framed[-1]) == (tokenizer.roles.bos, tokenizer.roles.eos)


def test_an_id_far_behind_the_pieces_is_refused() -> None:
    for kind, content in (("unigram", {"x": 2**23}), ("bpe", {"x": 2**30})):
        with pytest.raises(CutawayError, match="id"):
            opened(trained(kind, 3), added_tokens=content)


def test_it_streams() -> None:
    tokenizer = opened(trained("bpe", 3))
    for text in TEXTS:
        ids = tokenizer.encode(text)
        stream = StreamDecoder(tokenizer)
        assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids) == text.replace("▁", " ")


def message(number: int, content: bytes) -> bytes:
    """A field of bytes in the wire format."""
    return bytes([number << 3 | 2, len(content)]) + content


def piece(text: str, score: float = -1.0, kind: int = 1) -> bytes:
    return message(1, message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


UNK = piece("<unk>", 0, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no pieces"),
        (b"\xff" * 40, "does not end"),
        (b"\x0a\xff\xff\xff\xff\x0f", "promises 4,294,967,295 bytes and 0 follow"),
        (b"version https://git-lfs.github.com/spec/v1", "no SentencePiece model"),
        (UNK[:-1], "no SentencePiece model"),
        (b"\x08\x01", "not of its type"),
        (message(1, b"\x08\x01"), "not of its type"),
        (message(1, message(1, b"\xff")), "not of its type"),
        (piece("a"), "exactly one piece for unknown"),
        (UNK + UNK, "exactly one piece for unknown"),
        (UNK + piece("a") * 2, "piece 2 is held twice"),
        (UNK + piece(""), "piece 1 is empty"),
        (UNK + piece("a", float("nan")), "score nan"),
        (UNK + piece("a", -1, 9), "kind 9"),
        (UNK + piece("a") + message(2, b"\x18\x04"), "kind char"),
        (UNK + piece("<0x00>", 0, 6), "255 of the 256 bytes have no piece"),
        (UNK + piece("a") + message(3, message(2, b"\x08\x00\x00\x00" + b"\xff" * 8)), "character map is damaged"),
    ],
)
def test_a_file_that_is_no_model_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(content)
    with pytest.raises(CutawayError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(file) in str(caught.value)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_mutated_model_opens_or_is_refused(data: st.DataObject) -> None:
    model = bytearray(trained("unigram", data.draw(st.sampled_from([0, 3]))))
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(model)))
    try:
        tokenizer = opened(bytes(model[:cut]))
        tokenizer.decode(tokenizer.encode("The ①\u0301 quick ｆｕｌｌ fox\r\n ﬁ 漢字"))
    except CutawayError:
        return


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_mutated_character_map_never_points_outside(data: st.DataObject, charsmap: bytes) -> None:
    from tokenizers import normalizers

    mutated = bytearray(charsmap)
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_charsmap(bytes(mutated))
    except CharsmapError:
        return
    normalizer = normalizers.Precompiled(bytes(mutated))
    for text in (*TEXTS, *MARKS, data.draw(st.text(st.characters(exclude_categories=["Cs"])))):
        normalizer.normalize_str(text)


def test_a_damaged_character_map_in_a_tokenizer_json_is_refused(tmp_path: Path) -> None:
    data = json.loads(opened(trained("unigram", 0)).to_json())
    damaged = base64.b64encode(b"\x08\x00\x00\x00" + b"\xff" * 8 + b"abc\0").decode()
    data["normalizer"] = {
        "type": "Sequence",
        "normalizers": [{"type": "Precompiled", "precompiled_charsmap": damaged}],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(CutawayError, match=r"precompiled_charsmap\) is damaged"):
        Tokenizer.load(tmp_path)


@pytest.fixture(scope="module")
def charsmap(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("map") / "a.model"
    file.write_bytes(trained("unigram", 0))
    return read_model(file).charsmap


def test_a_translation_model_takes_its_ids_from_the_table_beside_it(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import MarianTokenizer

    model = trained("unigram", 0)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    spelled = [pieces.id_to_piece(number) for number in range(len(pieces)) if not pieces.is_control(number)]
    table = {text: number for number, text in enumerate(["</s>", *reversed(spelled), "▁ziel", ">>fra<<", "<pad>"])}
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(model)
    (tmp_path / "vocab.json").write_text(json.dumps(table))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    theirs, ours = MarianTokenizer.from_pretrained(tmp_path, local_files_only=True), Tokenizer.load(tmp_path)
    plain = [text for text in TEXTS if not any(token in text for token in ("<s>", "</s>", "<unk>", "<pad>"))]
    for text in (*plain, ">>fra<< the cat"):
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == ids or _is_a_tie(theirs.spm_source, *_back(theirs, ids, ours.encode(text))), text
    assert (ours.roles.eos, ours.roles.pad, ours.roles.unk) == (table["</s>"], table["<pad>"], table["<unk>"])
    assert Library.from_str(ours.to_json()).encode("the cat").ids == theirs.encode("the cat")
    assert ours.decode([table["▁ziel"], table["▁the"]]) == "ziel the"
    for broken, said in (([], "holds list"), ({"a": 0}, "unknown text"), ({**table, "x": 2**23}, "the id 8,388,608")):
        (tmp_path / "vocab.json").write_text(json.dumps(broken))
        with pytest.raises(CutawayError, match=said):
            Tokenizer.load(tmp_path)


def _back(theirs: object, *ways: list[int]) -> list[list[int]]:
    """The same ways in the ids of the model itself."""
    spelled = [theirs.convert_ids_to_tokens(ids) for ids in ways]  # type: ignore[attr-defined]
    return [[theirs.spm_source.piece_to_id(text) for text in texts] for texts in spelled]  # type: ignore[attr-defined]


def test_a_large_model_opens(tmp_path: Path) -> None:
    """100,000 pieces: what takes time by the square of their number would not end here."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [*letters, *(a + b + c + d for a in letters for b in letters for c in letters for d in letters[:6])]
    content = UNK + b"".join(message(1, piece(text)[2:]) for text in texts)
    (tmp_path / "tokenizer.model").write_bytes(content)
    assert Tokenizer.load(tmp_path).vocab_size == len(texts) + 1
