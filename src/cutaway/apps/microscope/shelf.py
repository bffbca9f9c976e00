"""Models that are open. In: names. Out: the model of a name, opened once, the oldest put back when memory runs short.

Only models that were named on the command line, bundled ones and the runs below ./runs are opened: a page cannot have any other
file read, and reaches the network by no name but one that was given there.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...config import ModelConfig
from ...cost import num_parameters
from ...errors import CutawayError, near
from ...finding import bundled_models, read_config
from ...lens.words import Words
from ...lm import LM, load
from ...text import Tokenizer
from ...train.run_directory import complete_checkpoints
from .numbers import numbers

MOST_BYTES = 4 * 2**30  # of models that are open together; one may be larger
RUNS = Path("runs")


@dataclass
class Opened:
    """A model that is open. lock: one pass at a time; name: as the page says it."""

    lm: LM
    name: str
    lock: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; where it has none, one whose words are its ids."""
        own = self.lm.own_tokenizer
        return numbers(self.lm.config.vocab_size) if own is None else own

    @cached_property
    def words(self) -> Words:
        """Its ids as texts."""
        return Words(self.tokenizer, self.lm.config.vocab_size)

    @property
    def has_tokenizer(self) -> bool:
        """Whether it came with a tokenizer."""
        return self.lm.own_tokenizer is not None

    @property
    def file_name(self) -> str:
        """Its name as that of a file."""
        return re.sub(r"[^A-Za-z0-9.@-]+", "-", Path(self.name).name) or "model"

    @property
    def kind(self) -> str:
        """decoder, encoder or pair."""
        return kind_of(self.lm.config)

    @property
    def num_bytes(self) -> int:
        """Bytes of its weights."""
        return sum(p.numel() * p.element_size() for p in self.lm.model.parameters())


class Shelf:
    """The models that a page may name. Safe to use from many threads."""

    def __init__(self, current: str | LM, others: Sequence[str] = ()) -> None:
        """current: the model that is shown first, by name or open; others: further names."""
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._named = tuple(others)
        if isinstance(current, LM):
            self.current = current.name
            self._open[current.name] = Opened(current, current.name)
        else:
            self.current = current

    def open(self, name: str | None = None) -> Opened:
        """The model of a name, the current one for None. Raises CutawayError for a name that is not listed."""
        name = self.current if name is None else name
        place = name if name in self._open else self._listed(name)
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:  # others are served while this one is read
            found = self._open.get(name)
            if found is None:
                lm = load(place)
                found = Opened(LM(lm.model, lm.own_tokenizer, name, lm.place), name)
            with self._lock:
                self._open[name] = found
                self._open.move_to_end(name)
                self._put_back()
        return found

    def holds(self, opened: Opened) -> bool:
        """Whether the model is open still, and was not put back."""
        return self._open.get(opened.name) is opened

    def config(self, name: str | None = None) -> ModelConfig:
        """The architecture of a model, which need not be open. Raises CutawayError for a name that is not listed."""
        name = self.current if name is None else name
        if name in self._open:
            return self._open[name].lm.config
        if name not in self._configs:
            self._configs[name] = read_config(self._listed(name))
        return self._configs[name]

    def names(self) -> list[str]:
        """Every name that `open` takes: the current one, those named, bundled ones, and runs with their checkpoints."""
        return list(dict.fromkeys([self.current, *self._named, *bundled_models(), *_runs()]))

    def listing(self) -> list[dict[str, str]]:
        """Name, kind and a note on each model; what cannot be read is left out."""
        found = []
        for name in self.names():
            try:
                config = self.config(name)
            except (CutawayError, OSError):
                continue
            found.append({"name": name, "kind": kind_of(config), "note": _note(name, config)})
        return found

    def _listed(self, name: str) -> str:
        """The place of a name that is listed."""
        if name not in (known := self.names()):
            raise CutawayError(
                f"The model '{name:.80}' is not open here.{near(name, known)} Others are named when the microscope is opened: "
                "cutaway open MODEL --also OTHER"
            )
        return _place(name)

    def _put_back(self) -> None:
        while len(self._open) > 1 and sum(each.num_bytes for each in self._open.values()) > MOST_BYTES:
            self._open.popitem(last=False)


def kind_of(config: ModelConfig) -> str:
    """decoder, encoder or pair."""
    if config.has_cross:
        return "pair"
    return "encoder" if config.decoder is None else "decoder"


def _place(name: str) -> str:
    """The place of a name: `run@step` is one checkpoint of a run."""
    run, mark, step = name.rpartition("@")
    if not mark or not re.fullmatch(r"[0-9]{1,12}", step) or Path(name).exists():
        return name
    found = dict(complete_checkpoints(Path(run).expanduser()))
    if int(step) not in found:
        steps = ", ".join(map(str, found)) or "none"
        raise CutawayError(f"The run {run} has no checkpoint of step {step}. It has: {steps}.")
    return str(found[int(step)])


def _runs() -> list[str]:
    """The runs below ./runs that have a checkpoint, the newest of each first, and their checkpoints by step."""
    found = []
    for recipe in sorted(RUNS.glob("*/recipe.json")):
        steps = complete_checkpoints(recipe.parent)
        if steps:
            found += [str(recipe.parent), *(f"{recipe.parent}@{step}" for step, _ in reversed(steps))]
    return found


def _note(name: str, config: ModelConfig) -> str:
    millions = num_parameters(config) / 1e6
    where = "bundled, " if name in bundled_models() else ""
    return f"{where}{millions:,.1f} million parameters"
