"""llama.cpp's side of a comparison, by its plain functions. In: a .gguf file. Out: logits, and turns as ours.

Everything is as it comes: memory-mapped weights, repacked where it likes them so, keys and values in fp16, its own choice of
attention, its own greedy sampler; Python only asks for the next token. llama.h names the functions.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ...errors import CutawayError
from .measure import Turn

BATCH = 512  # tokens of a pass, llama.cpp's own default


class LlamaCpp:
    """A file, opened. context: tokens that its store holds."""

    def __init__(self, path: str, threads: int, context: int, kind: str) -> None:  # noqa: ARG002 (the file says its kind)
        """Raises CutawayError for a file that llama.cpp does not open."""
        import llama_cpp

        self._llama: Any = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)  # kept: llama.cpp calls it as long as it lives
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise CutawayError(
                "llama.cpp does not open the model that was written for it: it has no such architecture."
            )
        how = llama_cpp.llama_context_default_params()
        how.n_ctx, how.n_threads, how.n_threads_batch = context, threads, threads
        how.n_batch = how.n_ubatch = BATCH
        self._context = llama_cpp.llama_init_from_model(self._model, how)
        if not self._context:
            raise CutawayError("llama.cpp makes no session of the model: the memory may not suffice.")
        self._sampler = llama_cpp.llama_sampler_init_greedy()

    def logits(self, ids: Sequence[int]) -> list[list[float]]:
        """Of one pass: [position, vocab]. At most BATCH ids."""
        self._forget()
        batch = self._llama.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token_id in enumerate(ids):
            batch.token[place], batch.pos[place], batch.n_seq_id[place] = token_id, place, 1
            batch.seq_id[place][0], batch.logits[place] = 0, 1
        self._decode(batch)
        width = self._llama.llama_vocab_n_tokens(self._llama.llama_model_get_vocab(self._model))
        rows = [self._llama.llama_get_logits_ith(self._context, place)[:width] for place in range(len(ids))]
        self._llama.llama_batch_free(batch)
        return rows

    def turn(self, ids: Sequence[int], num_written: int) -> Turn:
        """A prompt read, some tokens written."""
        self._forget()
        ends = [time.perf_counter()]
        for begin in range(0, len(ids), BATCH):
            self._read(ids[begin : begin + BATCH])
        written = [self._choose()]
        ends.append(time.perf_counter())
        for _ in range(num_written):
            self._read(written[-1:])
            written.append(self._choose())
            ends.append(time.perf_counter())
        seconds = [end - begin for begin, end in pairwise(ends)]
        return Turn(prefill=seconds[0], tokens=tuple(seconds[1:]), ids=tuple(written))

    def _read(self, ids: Sequence[int]) -> None:
        numbers = (self._llama.llama_token * len(ids))(*ids)
        self._decode(self._llama.llama_batch_get_one(numbers, len(ids)))

    def _decode(self, batch: Any) -> None:
        code = self._llama.llama_decode(self._context, batch)
        if code != 0:
            raise CutawayError(f"llama.cpp ends a pass with code {code}.")

    def _choose(self) -> int:
        return int(self._llama.llama_sampler_sample(self._sampler, self._context, -1))

    def _forget(self) -> None:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
