"""What of each document is predicted, and what is read only. In: a corpus and a marker. Out: the corpus with weights.

    weight of a token = 1 behind the document's first marker, 0 up to it, the marker included

as in learning to answer, where a question is read and its answer predicted (Radford et al. 2018 §3.3; Raffel et al. 2020 §2.4).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from ..text import Tokenizer
from .corpus import Corpus

NUM_NAMED = 3  # documents that an error names


def scored_after(corpus: Corpus, tokenizer: Tokenizer, marker: str, context: int) -> Corpus:
    """The same documents, of each of which only what stands behind the marker counts, in tokens and in bytes.

    marker: a text that is one token. context: tokens of a row.
    Raises `CutawayError`: a marker that is no single token; documents without it, with nothing behind it, or that no row holds
    whole, so that what is predicted would not see what was to be read.
    """
    marker_id = _single(tokenizer, marker)
    starts, ids = corpus.document_starts, corpus.token_ids
    places = np.flatnonzero(ids == marker_id)
    found = np.searchsorted(places, starts[:-1])
    first = np.append(places, len(ids))[found]  # [document]: its marker, or one further on
    ends = starts[1:] - (corpus.end_id is not None)
    _refuse(corpus, first >= ends, f"without '{marker}', the text of data.scored_after. Mend or drop them")
    _refuse(
        corpus, first == ends - 1, f"with nothing behind '{marker}', the text of data.scored_after. Mend or drop them"
    )
    _refuse(
        corpus,
        np.diff(starts) - (corpus.end_id is None) > context,
        f"of more than {context:,} tokens, which no row holds whole, as data.scored_after needs it. Raise the context, or "
        "shorten them",
    )
    lengths = np.stack([first + 1 - starts[:-1], starts[1:] - first - 1], axis=1)  # up to the marker, and behind it
    weights = np.repeat(np.tile(np.array([0, 1], dtype=np.float32), len(lengths)), lengths.ravel())
    behind = np.where(weights > 0, _bytes_of(tokenizer)[ids], 0)
    return replace(corpus, weights=weights, document_bytes=np.add.reduceat(behind, starts[:-1], dtype=np.int64))


def _single(tokenizer: Tokenizer, marker: str) -> int:
    try:
        ids = tokenizer.encode(marker)
    except CutawayError as error:
        raise CutawayError(f"data.scored_after cannot be read: {error}") from error
    if len(ids) != 1:
        parts = f", {', '.join(map(tokenizer.token_text, ids))}" if ids else ""
        raise CutawayError(
            f"data.scored_after is '{marker}', and this tokenizer makes {len(ids)} tokens of it{parts}. Name a text that is one "
            "token, and that stands in every document between what is read and what is predicted."
        )
    return ids[0]


def _refuse(corpus: Corpus, is_wrong: NDArray[np.bool_], why: str) -> None:
    if numbers := (np.flatnonzero(is_wrong) + 1).tolist():
        named = ", ".join(f"{number:,}" for number in numbers[:NUM_NAMED])
        more = f" and {len(numbers) - NUM_NAMED:,} more" if len(numbers) > NUM_NAMED else ""
        raise CutawayError(f"{corpus.name} has documents {why}: number {named}{more} of {corpus.num_documents:,}.")


def _bytes_of(tokenizer: Tokenizer) -> NDArray[np.int32]:
    """The UTF-8 bytes of each token, 0 of a special one: [vocab]."""
    ids = range(tokenizer.vocab_size)
    return np.array(
        [0 if tokenizer.is_special(each) else len(tokenizer.token_bytes(each)) for each in ids], dtype=np.int32
    )
