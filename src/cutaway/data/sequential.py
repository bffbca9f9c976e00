"""A corpus from its first token to its last, for evaluation. In: a `Corpus`. Out: batches that score every token once.

In a stream, a window of `context` tokens moves on by `stride`; of each window only the targets that no window before has
scored count, so that each is predicted from at least context − stride tokens before it (Press et al., "Shortformer", 2021),
but for those near the start. A corpus with an end token has it before its first token, so that this one is scored too;
without one the first token has nothing to be predicted from and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import CutawayError
from .corpus import Corpus
from .packing import Batch, Ids, Packed


def sequential(
    corpus: Corpus, context: int, batch_size: int, *, stride: int | None = None, packed_with: int | None = None
) -> Iterator[Batch]:
    """Batches of at most `batch_size` rows, in order; over all of them, weights and num_bytes cover every token once.

    stride: 1..context, default context: every token costs one prediction; context // 2 costs two and gives each token at
    least half a context. A corpus shorter than the context gives one shorter row.
    packed_with: a pad id, for models trained on packed documents: rows of whole documents, where stride does not apply.
    Raises `CutawayError`: sizes below 1, a stride above the context, or fewer than two tokens.
    """
    stride = context if stride is None else stride
    if context < 1 or batch_size < 1 or not 1 <= stride <= context:
        raise CutawayError(
            f"context {context}, batch_size {batch_size} and stride {stride} must be 1 or more, and stride at most context."
        )
    if packed_with is not None:
        packed = Packed(corpus, context, packed_with)
        layout = packed.lay_out(None)
        for first in range(0, packed.num_rows, batch_size):
            yield layout.rows(np.arange(first, min(first + batch_size, packed.num_rows)))
        return
    first_target = 0 if corpus.end_id is not None else 1
    num_targets = corpus.num_tokens - first_target
    if num_targets < 1:
        raise CutawayError(f"{corpus.name} has {corpus.num_tokens} tokens: too few to predict one from another.")
    length = min(context, num_targets)
    num_rows = 1 + -(-(num_targets - length) // stride)
    for first in range(0, num_rows, batch_size):
        numbers = np.arange(first, min(first + batch_size, num_rows))
        # The last window moves back to end with the corpus: full length, and its weights leave out what was scored.
        starts = np.minimum(numbers * stride, num_targets - length)
        scored_until = np.where(numbers == 0, 0, np.minimum((numbers - 1) * stride, num_targets - length) + length)
        yield _rows(corpus, first_target + starts, first_target + scored_until, length)


def _rows(corpus: Corpus, starts: Ids, scored_until: Ids, length: int) -> Batch:
    """starts: [batch], first targets. scored_until: [batch], the first target of each row that counts."""
    targets = starts[:, None] + np.arange(length)
    target_ids = corpus.token_ids[targets].astype(np.int64)
    input_ids = corpus.token_ids[np.maximum(0, targets - 1)].astype(np.int64)
    if corpus.end_id is not None:
        input_ids[targets == 0] = corpus.end_id
    num_bytes = corpus.bytes_before(starts + length) - corpus.bytes_before(scored_until)
    weights = (targets >= scored_until[:, None]).astype(np.float32)
    return Batch(input_ids=input_ids, target_ids=target_ids, weights=weights, num_bytes=float(num_bytes.sum()))
