"""A few tokens through a store by a plan. In: ids, a store. Out: logits; the tokens' keys and values are in the store."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from ..stores import KVStore
from .guard import Guard
from .program import Kind, Program
from .room import Pass

MOST_TOKENS = 96  # of a pass; from about here on, products with packed weights are faster (docs/log.md)
MOST_OF_LARGE = 32  # of a pass of a large model
LARGE = 2**25  # weights, in matrices: from here on a model is large


class Plan:
    """A recorded plan. It serves any session of its model; what it computes in is its own, so that one pass runs at a time.

    num_states: how many of its operations make the states, before the head. is_rounded: whether inputs of products are rounded,
    so that what rounding does to one number may grow to a step of the codes. admitted: for one token (False), for several (True).
    most: tokens of a pass.
    """

    def __init__(self, program: Program, num_states: int, guard: Guard, *, is_rounded: bool = False) -> None:
        self.is_rounded = is_rounded
        self.program, self.num_states, self.guard = program, num_states, guard
        self.admitted: set[bool] = set()
        sizes = [each.inputs[0].size * each.out.size for each in program.operations if each.kind == Kind.PRODUCT]
        self.most = MOST_TOKENS if sum(sizes) < LARGE else MOST_OF_LARGE
        self._lock = Lock()

    def serves(self, count: int, before: int) -> bool:
        """Whether it runs so many tokens behind so many others. A large model's prompt is read: with packed weights, and not
        twice, as the first pass that a plan is compared with is; what is drafted behind it is worth that.
        """
        return count == 1 or (count <= self.most and (before > 0 or self.most == MOST_TOKENS))

    @property
    def num_threads(self) -> int:
        """For how many threads it was recorded."""
        return self.program.num_threads

    @cached_property
    def wide(self) -> Program:
        """The same operations with memory for several tokens at once."""
        return replace(self.program, num_tokens=self.most)

    def run(self, asked: Pass, store: KVStore, start: int) -> Tensor:
        """Tokens behind all that the store held before it counted them, from `start` on. Returns logits [read, vocab]."""
        count, has_logits = len(asked.ids), asked.read is not None
        logits = torch.empty(count - asked.read if asked.read is not None else 0, self.program.result.size)
        with self._lock:
            program = self.wide if asked.is_several else self.program
            now = asked.step(store, start, self.num_states, logits)
            program.replay(now, None if has_logits else self.num_states)
        return logits
