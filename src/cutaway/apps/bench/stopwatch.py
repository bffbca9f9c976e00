"""Where the time of a pass goes. In: a model. Out: seconds in its matrices and in attention, counted while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...model import Call, Transformer
from ...model.call import Spec
from ...model.projection import Projection
from ...runtime.attend import fused


class Stopwatch:
    """seconds: in `weights` (every projection, and the head) and in `attention` (keys and values written and read)."""

    def __init__(self) -> None:
        self.seconds = {"weights": 0.0, "attention": 0.0}
        self._depth, self._started = 0, 0.0

    def attend(self, spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
        """The kernel of sessions, timed."""
        started = time.perf_counter()
        mixed = fused(spec, q, k, v, call)
        self.seconds["attention"] += time.perf_counter() - started
        return mixed

    @contextmanager
    def watching(self, model: Transformer) -> Iterator[None]:
        """While it lasts, the time in the matrices of the model is counted."""
        watched = [
            each for each in (*model.modules(), model.head) if isinstance(each, Projection) or each is model.head
        ]
        handles = [handle for each in watched if each is not None for handle in self._watch(each)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, module: nn.Module) -> tuple[Any, Any]:
        return module.register_forward_pre_hook(self._enter), module.register_forward_hook(self._leave)

    def _enter(self, *_: object) -> None:
        self._depth += 1  # a head holds a projection, which is not counted twice
        if self._depth == 1:
            self._started = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds["weights"] += time.perf_counter() - self._started
