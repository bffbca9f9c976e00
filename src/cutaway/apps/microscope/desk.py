"""Runs that are kept. In: asks. Out: their runs, the same one for the same ask, the oldest forgotten when memory runs short."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property

import torch

from ...runtime.roofline import Machine, largest_cache, num_cores, peak_flops, read_bandwidth
from .asks import AskRun
from .passes import Pass, run_pass
from .shelf import Shelf
from .wire import NotHereError

MOST_BYTES = 2**30  # of runs that are kept together; one may be larger
MOST_RUNS = 32


class UnknownRunError(NotHereError):
    """A run that is not kept: forgotten, or of another server. The page asks anew."""


class Desk:
    """What a page works with. Safe to use from many threads."""

    def __init__(self, shelf: Shelf, text: str = "") -> None:
        """text: what the page shows first, "" for its own example."""
        self.shelf, self.text = shelf, text
        self._lock, self.measuring = threading.Lock(), threading.Lock()
        self._runs: OrderedDict[str, Pass] = OrderedDict()

    def run(self, ask: AskRun) -> Pass:
        """The run of an ask, from what is kept or now. Raises CutawayError where it cannot be run."""
        ask = replace(ask, model=ask.model or self.shelf.current)
        with self._lock:
            if ask.name in self._runs:
                self._runs.move_to_end(ask.name)
                return self._runs[ask.name]
        opened = self.shelf.open(ask.model)
        with opened.lock:
            if (kept := self._kept(ask.name)) is not None:  # another tab asked the same meanwhile
                return kept
            found = run_pass(opened, ask)
        with self._lock:
            self._runs[ask.name] = found
            self._forget()
        return found

    @cached_property
    def bandwidth(self) -> float:
        """Bytes that this machine reads from memory in a second; measured once."""
        return read_bandwidth()

    @cached_property
    def peak(self) -> float:
        """Operations that this machine does in a second; measured once."""
        return peak_flops()

    @cached_property
    def cache(self) -> int | None:
        """Bytes of the processor's largest cache, None where the system does not tell."""
        return largest_cache()

    @property
    def machine(self) -> Machine:
        """All of it, as `cutaway bench` has it."""
        return Machine(
            read=self.bandwidth, peak=self.peak, cache=self.cache, cores=num_cores(), threads=torch.get_num_threads()
        )

    def find(self, name: str) -> Pass:
        """A run by its name. Raises UnknownRunError."""
        found = self._kept(name)
        if found is None:
            raise UnknownRunError(
                f"There is no run '{name:.40}' here: it was forgotten, or the server began anew. Ask again."
            )
        return found

    def _kept(self, name: str) -> Pass | None:
        with self._lock:
            if name in self._runs:
                self._runs.move_to_end(name)
            return self._runs.get(name)

    def _forget(self) -> None:
        """Runs of models that were put back go first, or they would hold them; then the oldest."""
        for name in [name for name, run in self._runs.items() if not self.shelf.holds(run.opened)]:
            del self._runs[name]
        while len(self._runs) > 1 and (
            len(self._runs) > MOST_RUNS or sum(run.num_bytes for run in self._runs.values()) > MOST_BYTES
        ):
            self._runs.popitem(last=False)
