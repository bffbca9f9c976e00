"""Documents -> token ids on disk: exact content, a cache that is never wrong, and splits that share nothing."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data import Corpus, Source, build_corpus, encode_documents, split
from cutaway.data.sources import read_documents
from cutaway.errors import CutawayError

END = 256
DOCUMENTS = ["The cat sat.", "Größe: 猫", "x", "A longer one, to be cut."]


def encode(texts: list[str]) -> list[list[int]]:
    return [list(text.encode()) for text in texts]


class Encoder:
    """Bytes as ids; counts its calls, to tell a cached corpus from an encoded one."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.num_calls += 1
        return encode(texts)


def build(folder: Path, encoder: Encoder, fingerprint: str = "bytes", vocab_size: int = 257) -> Corpus:
    source = Source(files="a.txt", folder=folder, separator="|")
    return build_corpus(
        source, encoder, end_id=END, vocab_size=vocab_size, cache_dir=folder / "cache", fingerprint=fingerprint
    )


def documents_of(corpus: Corpus) -> list[str]:
    starts = corpus.document_starts
    rows = [corpus.token_ids[begin:end] for begin, end in pairwise(starts)]
    return [bytes(row[row != END].astype(np.uint8)).decode() for row in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("|".join(DOCUMENTS), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)])
def test_a_corpus_holds_every_document(folder: Path, vocab_size: int, dtype: type) -> None:
    for _ in range(2):
        corpus = build(folder, Encoder(), vocab_size=vocab_size)
        assert documents_of(corpus) == DOCUMENTS
        assert corpus.token_ids.dtype == dtype
        assert [int(corpus.token_ids[start - 1]) for start in corpus.document_starts[1:]] == [END] * 4
        assert corpus.document_bytes.tolist() == [len(text.encode()) for text in DOCUMENTS]
        assert (corpus.num_documents, corpus.num_tokens, corpus.num_bytes) == (4, 53, 49)


def test_the_cache_is_used_until_something_changes(folder: Path) -> None:
    encoder = Encoder()
    for fingerprint, expected in (("bytes", 1), ("bytes", 1), ("others", 2), ("bytes", 2)):
        build(folder, encoder, fingerprint)
        assert encoder.num_calls == expected
    (folder / "a.txt").write_text("changed", encoding="utf-8")
    assert documents_of(build(folder, encoder)) == ["changed"]
    status = os.stat(folder / "a.txt")
    (folder / "a.txt").write_text("CHANGED", encoding="utf-8")
    os.utime(folder / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert documents_of(build(folder, encoder)) == ["CHANGED"]


@pytest.mark.parametrize("fault", ["cut off", "a flipped bit", "no header", "empty", "other bytes"])
def test_a_damaged_cache_is_built_again(folder: Path, fault: str) -> None:
    encoder = Encoder()
    build(folder, encoder)
    (path,) = (folder / "cache").iterdir()
    content = bytearray(path.read_bytes())
    if fault == "cut off":
        content = content[:-9]
    elif fault == "a flipped bit":
        content[530] ^= 1
    elif fault == "no header":
        content[:512] = b" " * 512
    else:
        content = bytearray(b"" if fault == "empty" else os.urandom(700))
    path.write_bytes(content)
    corpus = build(folder, encoder)
    assert encoder.num_calls == 2
    assert documents_of(corpus) == DOCUMENTS


def test_a_build_that_dies_leaves_nothing_behind(folder: Path) -> None:
    def dying(_texts: list[str]) -> list[list[int]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, dying)  # type: ignore[arg-type]
    assert list((folder / "cache").iterdir()) == []
    assert documents_of(build(folder, Encoder())) == DOCUMENTS


def test_a_full_disk_is_one_message_and_keeps_the_last_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(folder, Encoder())

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CutawayError, match=r"No space left on device.*Make room"):
        build(folder, Encoder(), fingerprint="others")
    encoder = Encoder()
    assert documents_of(build(folder, encoder)) == DOCUMENTS
    assert encoder.num_calls == 0
    assert len(list((folder / "cache").iterdir())) == 1


def test_empty_documents_are_counted(folder: Path) -> None:
    (folder / "a.txt").write_text("one|| |two", encoding="utf-8")
    for _ in range(2):
        assert build(folder, Encoder()).num_empty == 2


def test_bytes_before_is_exact_at_documents_and_adds_up() -> None:
    corpus = encode_documents(DOCUMENTS, encode, end_id=END, vocab_size=257)
    lengths = [len(text.encode()) for text in DOCUMENTS]
    assert corpus.bytes_before(corpus.document_starts).tolist() == [0, *np.cumsum(lengths)]
    steps = np.diff(corpus.bytes_before(np.arange(corpus.num_tokens + 1)))
    assert steps.min() > 0
    assert steps.sum() == pytest.approx(corpus.num_bytes, abs=1e-9)


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), st.floats(0.01, 0.99), st.booleans())
def test_the_tail_is_the_last_part_of_the_tokens_exactly(texts: list[str], fraction: float, has_end: bool) -> None:
    corpus = encode_documents(texts, encode, end_id=END if has_end else None, vocab_size=257)
    cut = int((1 - fraction) * corpus.num_tokens)
    if cut == 0:
        with pytest.raises(CutawayError, match="one side would be empty"):
            split(corpus, fraction)
        return
    train, tail = split(corpus, fraction)
    assert train.token_ids.tolist() == corpus.token_ids[:cut].tolist()
    assert tail.token_ids.tolist() == corpus.token_ids[cut:].tolist()
    assert train.num_bytes + tail.num_bytes == corpus.num_bytes
    borders = {*train.document_starts.tolist(), *(tail.document_starts + cut).tolist()}
    assert borders == {*corpus.document_starts.tolist(), cut}
    for part in (train, tail):
        assert part.document_starts[0] == 0
        assert part.document_starts[-1] == part.num_tokens
        assert len(part.document_bytes) == len(part.document_hashes) == len(part.document_starts) - 1


def test_a_split_of_whole_documents_keeps_equal_ones_together_and_is_stable() -> None:
    texts = [f"document {number % 400}" for number in range(600)]
    corpus = encode_documents(texts, encode, end_id=END, vocab_size=257)
    train, validation = split(corpus, 0.2, by="documents")
    assert sorted(documents_of(train) + documents_of(validation)) == sorted(texts)
    assert not set(documents_of(train)) & set(documents_of(validation))
    assert 50 <= len(set(documents_of(validation))) <= 110
    assert train.num_bytes + validation.num_bytes == corpus.num_bytes
    more = encode_documents([*texts, "a new one"], encode, end_id=END, vocab_size=257)
    assert set(documents_of(validation)) <= set(documents_of(split(more, 0.2, by="documents")[1]))


def test_impossible_splits_are_refused() -> None:
    corpus = encode_documents(["one document"], encode, end_id=END, vocab_size=257)
    for validation, by, message in (
        (0.0, "tail", "above 0 and below 1"),
        (1.5, "tail", "above 0 and below 1"),
        (0.1, "documents", "one side would be empty"),
        (0.1, "document", "Did you mean 'documents'"),
    ):
        with pytest.raises(CutawayError, match=message):
            split(corpus, validation, by=by)  # type: ignore[arg-type]


def test_no_text_is_one_message() -> None:
    with pytest.raises(CutawayError, match=r"no text in story\.txt"):
        encode_documents([""], encode, end_id=None, vocab_size=256, name="story.txt")


def test_the_bundled_shakespeare_text_splits_at_nine_tenths_of_its_characters() -> None:
    import cutaway

    folder = Path(cutaway.__file__).parent / "recipes" / "shakespeare"
    (text,) = read_documents(Source(files="tinyshakespeare.txt", folder=folder))
    corpus = encode_documents([text], encode, end_id=None, vocab_size=256)
    train, validation = split(corpus, 0.1)
    assert (train.num_tokens, validation.num_tokens) == (1_003_854, 111_540)
    assert (train.num_bytes, validation.num_bytes) == (1_003_854, 111_540)
