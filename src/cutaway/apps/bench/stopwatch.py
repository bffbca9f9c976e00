"""Where the time of a pass goes. In: a model. Out: seconds in its matrices, norms, cache and attention, counted while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ...model import Call, Transformer
from ...model.call import Attend, Slot, Spec
from ...model.norm import LayerNorm, RmsNorm
from ...model.projection import Projection
from ...runtime.attend import fused
from ...runtime.stores import KVSlot

LEAVES = ("weights", "cache", "attention", "norms")


class Stopwatch:
    """seconds: in `weights` (every projection, and the head), `cache` (keys and values written), `attention` (the kernel, which
    reads them) and `norms`.

    attend: the kernel that is timed.
    """

    def __init__(self, attend: Attend = fused) -> None:
        self.seconds = dict.fromkeys(LEAVES, 0.0)
        self._attend = attend
        self._depth, self._started = 0, 0.0

    def forget(self) -> None:
        """Begin anew."""
        self.seconds = dict.fromkeys(LEAVES, 0.0)

    def attend(self, spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
        """The kernel of sessions, timed. What writing takes is counted by itself, where the kernel leaves it to a plain slot."""
        slot = TimedSlot(call.store) if type(call.store) is KVSlot else None
        started = time.perf_counter()
        mixed = self._attend(spec, q, k, v, call if slot is None else replace(call, store=slot))
        written = 0.0 if slot is None else slot.seconds
        self.seconds["attention"] += time.perf_counter() - started - written
        self.seconds["cache"] += written
        return mixed

    @contextmanager
    def watching(self, model: Transformer) -> Iterator[None]:
        """While it lasts, the time in the matrices and the norms of the model is counted."""
        watched: list[tuple[nn.Module, str]] = [
            (each, "weights") for each in model.modules() if isinstance(each, Projection) or each is model.head
        ]
        watched += [(each, "norms") for each in model.modules() if isinstance(each, LayerNorm | RmsNorm)]
        handles = [handle for each, name in watched for handle in self._watch(each, name)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, module: nn.Module, name: str) -> tuple[Any, Any]:
        return (
            module.register_forward_pre_hook(lambda *_: self._enter()),
            module.register_forward_hook(lambda *_: self._leave(name)),
        )

    def _enter(self) -> None:
        self._depth += 1  # a head holds a projection and may hold a norm, which are not counted twice
        if self._depth == 1:
            self._started = time.perf_counter()

    def _leave(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds[name] += time.perf_counter() - self._started


class TimedSlot:
    """One layer's keys and values, and the seconds that writing them takes."""

    def __init__(self, slot: Slot) -> None:
        self._slot, self.seconds = slot, 0.0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As the slot's own."""
        started = time.perf_counter()
        found = self._slot.append(k, v)
        self.seconds += time.perf_counter() - started
        return found
