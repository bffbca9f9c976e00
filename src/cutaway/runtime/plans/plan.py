"""One token through a store by a plan. In: an id, a store. Out: logits; the token's keys and values are in the store."""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from .guard import Guard
from .program import Program
from .room import Room


class Plan:
    """A recorded plan. It serves any session of its model; what it computes in is its own, so that one token runs at a time.

    num_states: how many of its operations make the states, before the head. is_rounded: whether inputs of products are rounded,
    so that what rounding does to one number may grow to a step of the codes.
    """

    def __init__(self, program: Program, num_states: int, guard: Guard, *, is_rounded: bool = False) -> None:
        self.is_rounded = is_rounded
        self.program, self.num_states, self.guard = program, num_states, guard
        self._lock = Lock()

    @property
    def num_threads(self) -> int:
        """For how many threads it was recorded."""
        return self.program.num_threads

    def run(self, token_id: int, room: Room, *, has_logits: bool) -> Tensor:
        """The token behind all that the room's store holds. Returns logits [read, vocab]: of one, or of none."""
        logits = torch.empty(int(has_logits), self.program.result.size)
        with self._lock:
            self.program.replay(room.step(token_id, logits), None if has_logits else self.num_states)
        return logits
