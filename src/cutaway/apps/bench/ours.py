"""Our side of a comparison, for a process of its own. In: a model's name. Out: its files for a peer, its logits, its turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from ...decode import Session
from ...errors import CutawayError
from ...lm import load
from ...model import Call
from ...model.visibility import causal
from ...runtime.attend import fused
from ...runtime.memory import keep_freed_memory
from ...runtime.roofline import read_bandwidth
from ...weights import checkpoint, gguf
from ...weights.families import explain_misfit
from .measure import Turn, kept_size, take_turn
from .precision import Precision, in_bits
from .shapes import model_of

BESIDE = 0.2  # seconds: of reading, before and after a turn
PROMPT = 8  # tokens before the first one, when a start is measured


class Ours:
    """A model in full precision, until it is asked for in fewer bits."""

    def __init__(self, name: str, threads: int) -> None:
        keep_freed_memory()  # as the command line does
        torch.set_num_threads(threads)
        self.model = model_of(name)

    def write_gguf(self, path: str, kind: str) -> None:
        """One .gguf file with the matrices in this kind of numbers."""
        gguf.save(Path(path), self.model, None, kind=gguf.WRITABLE[kind])

    def write_checkpoint(self, path: str, dtype: str) -> None:
        """A Hugging Face directory. Raises CutawayError for a model that only Cutaway opens."""
        misfit = explain_misfit(self.model.config)
        if misfit is not None:
            raise CutawayError(f"No other program opens this model: {misfit}. Compare another one.")
        checkpoint.save(Path(path), self.model, dtype=getattr(torch, dtype))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> list[list[float]]:
        """Of one pass in full precision: [position, vocab]."""
        call = Call(causal(len(ids)), attend=fused)
        found: list[list[float]] = self.model(torch.tensor([list(ids)]), call)[0].tolist()
        return found

    def quantise(self, bits: int) -> Precision:
        """From now on in these bits."""
        return in_bits(self.model, bits)

    def kept(self) -> float:
        """Bytes of a number in the store."""
        return kept_size(self.model)

    def read(self) -> float:
        """Bytes a second that this process reads from memory now."""
        return read_bandwidth(seconds=BESIDE)

    def turn(self, ids: Sequence[int], num_written: int) -> Turn:
        """A prompt read, some tokens written."""
        return take_turn(self.model, ids, num_written)


class Start:
    """A process that has imported everything and opened nothing."""

    def __init__(self, threads: int) -> None:
        keep_freed_memory()  # as the command line does
        torch.set_num_threads(threads)

    def start(self, name: str, bits: int) -> dict[str, float]:
        """Seconds of each stage from a name to the first token: load, first_token."""
        ends = [time.perf_counter()]
        model = load(name, bits=bits).model
        ends.append(time.perf_counter())
        source = [0] * PROMPT if model.config.has_cross else None
        Session(model, source_ids=source).extend([0] if source else [0] * PROMPT)
        ends.append(time.perf_counter())
        stages = ("load", "first_token")
        return {stage: end - begin for stage, (begin, end) in zip(stages, pairwise(ends), strict=True)}
