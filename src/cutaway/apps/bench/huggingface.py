"""transformers' side of a comparison. In: a checkpoint directory. Out: logits, and turns as ours.

The model that its Auto class opens, with its own cache and its own choice of attention, in a loop that takes the likeliest token;
`generate` does more for each token, and is slower.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from .measure import Turn


class Transformers:
    """A directory, opened. context: not needed, its cache grows. kind: the type of the weights."""

    def __init__(self, path: str, threads: int, context: int, kind: str) -> None:  # noqa: ARG002 (as the other peers)
        import transformers

        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        found = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, kind))
        self._model: Any = found.eval()

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> list[list[float]]:
        """Of one pass: [position, vocab]."""
        found: list[list[float]] = self._model(torch.tensor([list(ids)])).logits[0].float().tolist()
        return found

    @torch.inference_mode()
    def turn(self, ids: Sequence[int], num_written: int) -> Turn:
        """A prompt read, some tokens written."""
        ends, written = [time.perf_counter()], []
        rows, cache = torch.tensor([list(ids)]), None
        for _ in range(num_written + 1):
            said = self._model(rows, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, chosen = said.past_key_values, int(said.logits[0, -1].argmax())
            rows = torch.tensor([[chosen]])
            written.append(chosen)
            ends.append(time.perf_counter())
        seconds = [end - begin for begin, end in pairwise(ends)]
        return Turn(prefill=seconds[0], tokens=tuple(seconds[1:]), ids=tuple(written))
