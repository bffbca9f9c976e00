"""llama.cpp by its plain functions, for the models that its Python class does not run. In: a file and ids. Out: numbers.

Its class wants a store of keys and values, which models that see all positions have not, and one stack.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

llama = pytest.importorskip("llama_cpp")
POOLINGS = {"none": 0, "mean": 1, "first": 2, "rank": 4}  # llama.h, llama_pooling_type


class Context:
    """A model and its memory. Everything is in fp32, on one thread."""

    def __init__(self, model: Any, context: Any) -> None:
        self._context = context
        self._vocab = llama.llama_model_get_vocab(model)
        self._model = model

    def decode(self, ids: Sequence[int], *, begin: int = 0) -> Tensor:
        """The logits at every position: [position, vocab]."""
        with _batch(ids, begin) as batch:
            assert llama.llama_decode(self._context, batch) == 0
        return self._rows(llama.llama_get_logits(self._context), len(ids), llama.llama_vocab_n_tokens(self._vocab))

    def encode(self, ids: Sequence[int]) -> None:
        """Fill the memory that a decoder looks at."""
        with _batch(ids, 0) as batch:
            assert llama.llama_encode(self._context, batch) == 0

    def forget(self) -> None:
        """Begin anew: nothing was decoded."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def states(self, ids: Sequence[int]) -> Tensor:
        """The last states: [position, d_model]."""
        self.encode(ids)
        return self._rows(llama.llama_get_embeddings(self._context), len(ids), self._width)

    def pooled(self, ids: Sequence[int]) -> Tensor:
        """One vector of a text, by the pooling that the context has: [d_model]."""
        self.encode(ids)
        return self._rows(llama.llama_get_embeddings_seq(self._context, 0), 1, self._width)[0]

    def tokens(self, text: str, *, specials: bool = False) -> list[int]:
        """The ids of a text; specials: with what stands around it, and with the tokens that it spells."""
        raw, found = text.encode(), (llama.llama_token * 4096)()
        count = llama.llama_tokenize(self._vocab, raw, len(raw), found, len(found), specials, specials)
        assert count >= 0
        return list(found[:count])

    @property
    def decoder_start(self) -> int:
        """The id with which the decoder begins."""
        return int(llama.llama_model_decoder_start_token(self._model))

    @property
    def _width(self) -> int:
        return int(llama.llama_model_n_embd(self._model))

    @staticmethod
    def _rows(numbers: Any, rows: int, columns: int) -> Tensor:
        return torch.from_numpy(np.ctypeslib.as_array(numbers, (rows * columns,)).copy()).view(rows, columns)


@contextlib.contextmanager
def opened(path: Path, *, pooling: str = "", vocab_only: bool = False) -> Iterator[Context]:
    """A file, opened. pooling: of an encoder; left out, logits are asked for."""
    llama.llama_backend_init()
    how = llama.llama_model_default_params()
    how.vocab_only = vocab_only
    model = llama.llama_model_load_from_file(str(path).encode(), how)
    assert model, f"llama.cpp does not open {path}"
    context = None if vocab_only else _context(model, pooling)
    try:
        yield Context(model, context)
    finally:
        if context:
            llama.llama_free(context)
        llama.llama_model_free(model)


def _context(model: Any, pooling: str) -> Any:
    how = llama.llama_context_default_params()
    how.n_ctx = how.n_batch = how.n_ubatch = 512
    how.n_threads = how.n_threads_batch = 1
    how.type_k = how.type_v = 0
    how.flash_attn_type = 0
    if pooling:
        how.embeddings, how.pooling_type = True, POOLINGS[pooling]
    context = llama.llama_init_from_model(model, how)
    assert context, "llama.cpp makes no context of the model"
    return context


@contextlib.contextmanager
def _batch(ids: Sequence[int], begin: int) -> Iterator[Any]:
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token_id in enumerate(ids):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token_id, begin + place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    try:
        yield batch
    finally:
        llama.llama_batch_free(batch)
