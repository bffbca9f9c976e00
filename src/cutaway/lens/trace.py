"""What was seen on the way. In: patterns of sites and a pass. Out: a copy of every tensor that they name.

`Recorder` is the watcher that a call takes along (`Call(…, watch=recorder)`); it changes nothing. `Trace` is what it saw,
with the ids and the token texts that it was seen for; it saves itself as .safetensors (`saved.read_trace` reads it again).
"""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from torch import Tensor

from ..errors import CutawayError, near
from ..weights.atomic import write_file
from ..weights.tensor_file import write_tensors
from .places import is_of_source, picked
from .sites import match

Kept = Mapping[str, tuple[int, Sequence[int]] | None]
Axes = Mapping[str, tuple[str, ...]]
ENDING: Final = ".safetensors"
IDS: Final = "ids"
"""The name of a saved trace's ids among its tensors."""


class Recorder:
    """A `model.call.Watch` that keeps a detached copy of every site that its patterns name.

    A later pass replaces what an earlier one left at the same site. Raises CutawayError for a pattern without a site.
    """

    def __init__(self, patterns: str | Iterable[str], available: Sequence[str], kept: Kept | None = None) -> None:
        """kept: of which sites only a part is kept, and which: an axis and its entries; left out or None: all."""
        self.names = frozenset(match(patterns, available))
        self.kept = kept or {}
        self.tensors: dict[str, Tensor] = {}

    def wants(self, site: str) -> bool:
        """Whether a pattern names this site."""
        return site in self.names

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """Keep a copy if the site is wanted; the tensor itself goes on."""
        if site in self.names:
            part = self.kept.get(site)
            self.tensors[site] = tensor.detach().clone() if part is None else picked(tensor.detach(), *part)
        return tensor

    def trace(
        self,
        ids: Tensor,
        texts: Sequence[Sequence[str]] = (),
        axes: Axes | None = None,
        source_texts: Sequence[Sequence[str]] = (),
    ) -> Trace:
        """What was recorded so far, as a trace. Arguments: as of `Trace`."""
        return Trace(self.tensors, ids, texts, axes, source_texts)


class Trace:
    """The tensors of a pass by site, in the order of the way: `trace["layers.0.attention.weights"]`.

    ids: [batch, position], what the pass read. texts: those of its tokens, a row each, or none; source_texts: of the source's
    tokens. axes: words for those of a site.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        ids: Tensor,
        texts: Sequence[Sequence[str]] = (),
        axes: Axes | None = None,
        source_texts: Sequence[Sequence[str]] = (),
    ) -> None:
        self._tensors = dict(tensors)
        self.ids = ids
        self.texts, self.source_texts = tuple(map(tuple, texts)), tuple(map(tuple, source_texts))
        self.axes = dict(axes or {})

    def texts_of(self, site: str) -> tuple[str, ...]:
        """The texts of the tokens that a site has rows for, in the first row; none where they are not known."""
        rows = self.source_texts if is_of_source(site, self.axes.get(site, ())) else self.texts
        return rows[0] if rows else ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The texts of the first row's tokens, or none."""
        return self.texts[0] if self.texts else ()

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of a site. Raises CutawayError, naming the nearest recorded sites, for one that was not watched."""
        if name not in self._tensors:
            raise CutawayError(
                f"The trace does not hold '{name}'.{near(name, self._tensors)} Watch it with sites='{name}'."
            )
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def items(self) -> ItemsView[str, Tensor]:
        """Names and tensors, in the order of the way."""
        return self._tensors.items()

    @property
    def names(self) -> list[str]:
        """The recorded sites, in the order of the way."""
        return list(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each recorded tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    @property
    def num_bytes(self) -> int:
        """Bytes of all recorded tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors.values())

    def save(self, path: str | Path) -> Path:
        """Write all tensors and the ids, each under its name, with texts and axes as notes. path: ends in .safetensors.

        Returns the path. Raises CutawayError for another ending, and where the file cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() != ENDING:
            raise CutawayError(f"'{path.name}' ends in '{path.suffix or 'nothing'}'. A trace is saved as {ENDING}.")
        notes = {"sites": self.names, "texts": self.texts, "source_texts": self.source_texts, "axes": self.axes}
        written = {name: json.dumps(value, ensure_ascii=False) for name, value in notes.items()}
        write_file(path, lambda place: write_tensors(place, {**self._tensors, IDS: self.ids}, written))
        return path

    def __repr__(self) -> str:
        """How much of what was seen: Trace(3 sites of [1, 9] tokens, 12,345 bytes)."""
        sites = f"{len(self)} site{'' if len(self) == 1 else 's'}"
        return f"Trace({sites} of {list(self.ids.shape)} tokens, {self.num_bytes:,} bytes)"
