"""Documents -> token ids, encoded once and kept on disk. In: a `Source` and a function text -> ids. Out: a `Corpus`, mapped
from one cache file, and its split into training and validation.

The cache file: a magic word, a JSON header of fixed size (what it was made from, sizes, a checksum), the document table
(three rows of int64) and the token ids (uint16 where the vocabulary allows, else uint32). It is written under a temporary
name, synced and renamed, so that a killed run leaves no half corpus; what does not match its checksum is built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError, near
from . import cache
from .sources import Source, read_documents

TokenIds = NDArray[np.uint16] | NDArray[np.uint32]
EncodeBatch = Callable[[list[str]], Sequence[Sequence[int]]]
_DOCUMENTS_PER_BATCH = 256
_NUM_HASH_BUCKETS = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """The token ids of many documents in one row, each document followed by the end token where there is one.

    token_ids: [token]. document_starts: [document + 1], the first token of each document, and the number of tokens.
    document_bytes: [document], UTF-8 bytes of text. document_hashes: [document], a stable hash of each text.
    end_id: the token that ends every document, or None. vocab_size: every id is below it. name: what messages call it.
    num_empty: documents without text that were left out. weights: [token], how much each token counts as a target; None: 1.
    """

    token_ids: TokenIds
    document_starts: NDArray[np.int64]
    document_bytes: NDArray[np.int64]
    document_hashes: NDArray[np.int64]
    end_id: int | None
    vocab_size: int
    name: str
    num_empty: int = 0
    weights: NDArray[np.float32] | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens, end tokens included."""
        return len(self.token_ids)

    @property
    def num_scored(self) -> float:
        """Tokens that count as targets."""
        return float(self.num_tokens if self.weights is None else self.weights.sum())

    @property
    def num_documents(self) -> int:
        """Documents."""
        return len(self.document_bytes)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of text."""
        return int(self.document_bytes.sum())

    def document(self, number: int) -> TokenIds:
        """The token ids of one document, its end token included."""
        return self.token_ids[self.document_starts[number] : self.document_starts[number + 1]]

    def bytes_before(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """UTF-8 bytes of the text before each token: exact where a document starts, in proportion to tokens inside it.

        tokens: any shape, in 0..num_tokens. Differences are the bytes between two tokens, and add up without a rest.
        """
        starts, num_bytes = self._byte_curve
        return np.interp(tokens, starts, num_bytes)

    @cached_property
    def _byte_curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        num_bytes = np.concatenate([[0], np.cumsum(self.document_bytes)])
        return self.document_starts.astype(np.float64), num_bytes.astype(np.float64)


def build_corpus(
    source: Source,
    encode_batch: EncodeBatch,
    *,
    end_id: int | None,
    vocab_size: int,
    cache_dir: Path,
    fingerprint: str,
) -> Corpus:
    """The corpus of a source: from the cache where it is whole and up to date, else encoded and written there.

    encode_batch: texts -> ids, one sequence each, without an end token. end_id: appended to each document; None: nothing.
    fingerprint: changes whenever the tokenizer would give other ids. The cache also depends on every file's path, size and
    time of change. Raises `CutawayError` for what cannot be read, and when the disk is full.
    """
    reading = {key: value for key, value in asdict(source).items() if key in ("format", "field", "separator")}
    encoding = Encoding(encode_batch, end_id, vocab_size, cache_dir, fingerprint)
    return kept_corpus(encoding, source.paths(), reading, lambda empty: read_documents(source, empty), source.name)


@dataclass(frozen=True)
class Encoding:
    """How texts become ids, and where these are kept. Fields as the arguments of `build_corpus`."""

    encode_batch: EncodeBatch
    end_id: int | None
    vocab_size: int
    cache_dir: Path
    fingerprint: str


def kept_corpus(
    encoding: Encoding,
    paths: Sequence[Path],
    reading: Mapping[str, Any],
    read: Callable[[Callable[[str], None]], Iterable[str]],
    name: str,
) -> Corpus:
    """The corpus of the documents that `read` gives: from the cache, else encoded and written there.

    paths, reading: the files and the way in which they are read, on which the cache depends. read: is given what is to be
    told of each empty document. name: what messages call the corpus.
    """
    end_id, vocab_size = encoding.end_id, encoding.vocab_size
    made_from = {
        "version": 1,
        "fingerprint": encoding.fingerprint,
        "end_id": end_id,
        "vocab_size": vocab_size,
        "reading": reading,
        "files": [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths],
    }
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]
    path = encoding.cache_dir / f"{key}.corpus"
    stored = cache.load(path)
    if stored is None:
        empty: list[str] = []
        encoded = _encode(read(empty.append), encoding.encode_batch, end_id, vocab_size)
        stored = cache.write(path, encoded, _dtype(vocab_size), empty)
    return _corpus(stored, end_id, vocab_size, name)


def encode_documents(
    documents: Iterable[str], encode_batch: EncodeBatch, *, end_id: int | None, vocab_size: int, name: str = "the text"
) -> Corpus:
    """A corpus in memory, without a cache: for a text to evaluate, and for tests. Arguments as in `build_corpus`.

    Raises `CutawayError` when there is no document.
    """
    encoded = list(_encode((text for text in documents if text), encode_batch, end_id, vocab_size))
    if not encoded:
        raise CutawayError(f"There is no text in {name}: nothing to encode.")
    token_ids = np.concatenate([document.token_ids for document in encoded]).astype(_dtype(vocab_size))
    table = np.array([(len(ids), num_bytes, text_hash) for ids, num_bytes, text_hash in encoded], dtype=np.int64).T
    return _corpus(cache.Stored(token_ids, table, num_empty=0), end_id, vocab_size, name)


def split(corpus: Corpus, validation: float = 0.1, by: Literal["tail", "documents"] = "tail") -> tuple[Corpus, Corpus]:
    """(training, validation): two corpora that share no token.

    by "tail": training is the first int((1 - validation) · num_tokens) tokens, and the rest is validation, even when that
    cuts a document. By "documents": about this fraction of the documents, chosen by a hash of their text: a document stays
    on its side when others come or go, and equal documents stay together. Raises `CutawayError`: a fraction not in (0, 1),
    an unknown way, or a side that would be empty.
    """
    if not 0 < validation < 1:
        raise CutawayError(
            f"validation is {validation}; it is a fraction of the text, above 0 and below 1, such as 0.1."
        )
    if by == "tail":
        cut = int((1 - validation) * corpus.num_tokens)
        if 0 < cut < corpus.num_tokens:
            return _slice(corpus, 0, cut), _slice(corpus, cut, corpus.num_tokens)
    elif by == "documents":
        held_out = corpus.document_hashes % _NUM_HASH_BUCKETS < round(validation * _NUM_HASH_BUCKETS)
        if held_out.any() and not held_out.all():
            return _select(corpus, ~held_out), _select(corpus, held_out)
    else:
        raise CutawayError(f"'{by}' is not a way to split a corpus.{near(by, ('tail', 'documents'))}")
    raise CutawayError(
        f"{corpus.name} ({corpus.num_documents:,} documents, {corpus.num_tokens:,} tokens) cannot be split by {by} with "
        f"validation = {validation}: one side would be empty. Add text, change the fraction, or name a validation file."
    )


class _Encoded(NamedTuple):
    token_ids: NDArray[np.int64]
    num_bytes: int
    text_hash: int


def _encode(
    documents: Iterable[str], encode_batch: EncodeBatch, end_id: int | None, vocab_size: int
) -> Iterator[_Encoded]:
    end = np.array([] if end_id is None else [end_id], dtype=np.int64)
    remaining = iter(documents)
    while texts := list(islice(remaining, _DOCUMENTS_PER_BATCH)):
        for text, ids in zip(texts, encode_batch(texts), strict=True):
            token_ids = np.concatenate([np.asarray(ids, dtype=np.int64), end])
            if len(token_ids) == 0:
                continue
            lowest, highest = token_ids.min(), token_ids.max()
            assert 0 <= lowest <= highest < vocab_size, f"ids {lowest}..{highest} from a vocabulary of {vocab_size}"
            content = text.encode()
            yield _Encoded(token_ids, len(content), _hash(content))


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1


def _dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def _corpus(stored: cache.Stored, end_id: int | None, vocab_size: int, name: str) -> Corpus:
    lengths, num_bytes, hashes = stored.table
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Corpus(stored.token_ids, starts, num_bytes, hashes, end_id, vocab_size, name, stored.num_empty)


def _slice(corpus: Corpus, begin: int, end: int) -> Corpus:
    """Tokens begin..end; a document that is cut keeps the bytes that its tokens have in proportion."""
    first, last = np.searchsorted(corpus.document_starts, [begin, end], side="right")
    starts = np.unique(np.concatenate([[begin], corpus.document_starts[first:last], [end]]))
    borders: NDArray[np.int64] = np.rint(corpus.bytes_before(starts)).astype(np.int64)
    num_bytes = borders[1:] - borders[:-1]
    hashes = corpus.document_hashes[first - 1 : first - 1 + len(num_bytes)]
    token_ids = corpus.token_ids[begin:end]
    weights = None if corpus.weights is None else corpus.weights[begin:end]
    return Corpus(
        token_ids, starts - begin, num_bytes, hashes, corpus.end_id, corpus.vocab_size, corpus.name, weights=weights
    )


def _select(corpus: Corpus, chosen: NDArray[np.bool_]) -> Corpus:
    """The chosen documents ([document]), copied into memory."""
    lengths = np.diff(corpus.document_starts)
    is_chosen = np.repeat(chosen, lengths)
    return Corpus(
        token_ids=corpus.token_ids[is_chosen],
        document_starts=np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64),
        document_bytes=corpus.document_bytes[chosen],
        document_hashes=corpus.document_hashes[chosen],
        end_id=corpus.end_id,
        vocab_size=corpus.vocab_size,
        name=corpus.name,
        weights=None if corpus.weights is None else corpus.weights[is_chosen],
    )
