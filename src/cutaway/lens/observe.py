"""Run a model and look. In: a model, what it reads, sites, edits. Out: a `Trace` of one pass, or of every step of a generation.

What a trace will hold is known before anything runs, and refused where it is more than the budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..decode import Decoder, Sampling, Session, Step, autoregressive, run
from ..errors import CutawayError
from ..model import Call, Transformer
from ..runtime.attend import fused
from .edits import Edit, Edits, make_edits
from .places import Places, chosen, is_of_source, token_axis
from .reading import Reading
from .sites import Site, match, sites
from .trace import Recorder, Trace

MOST_BYTES = 2**30
Change = Edit | Mapping[str, Any]


def sites_of(model: Transformer, reading: Reading) -> list[Site]:
    """Every site of a pass over what is read, in the order of the way."""
    kind = str(model.token.weight.dtype).removeprefix("torch.")
    return sites(model.config, len(reading.ids), reading.length, source=reading.num_source, dtype=kind)


@torch.inference_mode()
def trace(
    model: Transformer,
    reading: Reading,
    patterns: str | Sequence[str] = "*",
    *,
    positions: Places = None,
    edits: Sequence[Change] = (),
    max_bytes: int = MOST_BYTES,
) -> Trace:
    """One pass, the tensors of the named sites kept.

    positions: of which tokens, counted from 0 (of the source too, at its sites). edits: see `edits`. max_bytes: the most to keep.
    Raises CutawayError for a pattern or an edit without a site, places that do not exist, and more than max_bytes.
    """
    found = sites_of(model, reading)
    shown = _shown(found, patterns, positions, reading)
    check_budget(shown, max_bytes)
    kept = {site.name: _indices(site, positions, reading) for site in shown}
    recorder = Recorder(patterns, [site.name for site in found], kept)
    changes = _edits(found, edits, reading, recorder)
    if changes.to_freeze:
        plain = Recorder(changes.to_freeze, [site.name for site in found])
        run_pass(model, reading, plain)
        changes.frozen = plain.tensors
    run_pass(model, reading, changes if changes.steps else recorder)
    source_texts = () if reading.source is None else reading.source.texts
    return recorder.trace(reading.ids, reading.texts, {site.name: site.axes for site in shown}, source_texts)


@torch.inference_mode()
def trace_steps(
    model: Transformer,
    reading: Reading,
    patterns: str | Sequence[str] = "*",
    *,
    max_tokens: int,
    sampling: Sampling,
    edits: Sequence[Change] = (),
    max_bytes: int = MOST_BYTES,
) -> Trace:
    """Generate with a cache, and keep what the pass that chose each token holds for the token it ran from: [step, batch, …].

    The axes of tokens are gone: a step looks from one token. Keys grow by one a step, and are filled up with zeros behind.
    What belongs to a source is there once, without steps. The ids of the trace are those that were chosen: [1, step].
    """
    _check_single(reading)
    rows = reading.ids[0].tolist()
    last = sites(model.config, 1, 1, past=len(rows) + max_tokens - 1, source=reading.num_source)
    names = match(patterns, [site.name for site in last])
    shown = [site for site in last if site.name in names]
    check_budget(shown, max_bytes, times=max_tokens)
    recorder = StepRecorder(names, {site.name: site.axes for site in last})
    decoder = stepping(model, reading, edits, max_tokens=max_tokens, sampling=sampling, then=recorder)
    ids = [event.new for event in run(decoder) if event.new is not None]
    return recorder.steps(torch.tensor([ids]))


def stepping(
    model: Transformer,
    reading: Reading,
    edits: Sequence[Change],
    *,
    max_tokens: int,
    sampling: Sampling,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    then: Recorder | None = None,
) -> Decoder:
    """A decoder that continues what is read, with edits in every pass. positions of edits are places of the whole text."""
    rows = reading.ids[0].tolist()
    found = sites(model.config, 1, reading.length, source=reading.num_source)
    changes = _edits(found, edits, reading, then, is_open=True)
    source = None if reading.source is None else reading.source.ids[0].tolist()
    plain = Recorder(changes.to_freeze, [site.name for site in found]) if changes.to_freeze else None
    twin = None if plain is None else Session(model, source_ids=source, watch=plain)
    changes.frozen = {} if plain is None else plain.tensors
    session = Session(model, source_ids=source, watch=changes)
    changes.past = lambda: len(session.ids)
    decoder = autoregressive(session, rows, sampling, max_tokens=max_tokens, eos_ids=eos_ids, request=request)
    return decoder if twin is None else _beside(decoder, session, twin)


def run_pass(model: Transformer, reading: Reading, watch: Recorder | Edits) -> None:
    """One pass of every stack, to its last site."""
    memory = None
    if reading.source is not None:
        memory = model.encode(reading.source.ids, Call(reading.source.tokens, attend=fused, watch=watch))
    call = Call(reading.tokens, attend=fused, memory=memory, watch=watch)
    states = model.states(reading.ids, call)
    if model.head is not None:
        model.logits(states, call)
    elif model.pooler is not None:
        model.pooled(states, call)
    elif model.labels is not None:
        model.labelled(states, call)


def check_budget(shown: Sequence[Site], max_bytes: int, times: int = 1) -> None:
    """Raises CutawayError, with the figure, for more bytes than max_bytes. times: how often each is kept."""
    total = times * sum(site.num_bytes for site in shown)
    if total > max_bytes:
        largest = max(shown, key=lambda site: site.num_bytes)
        raise CutawayError(
            f"The {len(shown)} sites would take {total:,} bytes, and max_bytes is {max_bytes:,}; the largest, {largest.name}, "
            f"takes {times * largest.num_bytes:,}. Name fewer sites or positions, or raise max_bytes."
        )


class StepRecorder(Recorder):
    """Keeps each pass of a generation: what belongs to the last token that it ran."""

    def __init__(self, names: Sequence[str], axes: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(names, list(axes))
        self.axes = axes
        self.seen: dict[str, list[Tensor]] = {}

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """Keep the last token's part of a site that is wanted."""
        if site in self.names:
            axes = self.axes[site]
            axis = token_axis(axes)
            if axis is None or is_of_source(site, axes):
                self.tensors[site] = tensor.detach().clone()
            else:
                self.seen.setdefault(site, []).append(tensor.detach().select(axis, -1).clone())
        return tensor

    def steps(self, ids: Tensor) -> Trace:
        """All passes as one trace. ids: [1, step], what each pass chose."""
        axes = dict(self.axes)
        for site, each in self.seen.items():
            axis = token_axis(axes[site])
            axes[site] = ("step", *(name for index, name in enumerate(axes[site]) if index != axis))
            self.tensors[site] = _stacked(each)
        found = {site: self.tensors[site] for site in self.axes if site in self.tensors}
        return Trace(found, ids, axes={site: axes[site] for site in found})


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """[step, …]; what grew is filled up with zeros."""
    width = max(tensor.shape[-1] for tensor in each)
    return torch.stack([torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in each])


def _beside(decoder: Decoder, session: Session, twin: Session) -> Decoder:
    """The decoder, with every step made in the twin first: what is frozen comes from there."""
    answer: Any = None
    while True:
        try:
            wish = decoder.send(answer)
        except StopIteration:
            return
        if isinstance(wish, Step):
            twin.rewind(min(twin.length, session.length))
            twin.extend(wish.ids, "none", tokens=wish.tokens, keep=wish.keep)
        answer = yield wish


def _edits(
    found: Sequence[Site],
    edits: Sequence[Change],
    reading: Reading,
    then: Recorder | None,
    *,
    is_open: bool = False,
) -> Edits:
    return make_edits(
        edits, found, num_tokens=reading.length, num_source=reading.num_source, is_open=is_open, then=then
    )


def _shown(found: Sequence[Site], patterns: str | Sequence[str], positions: Places, reading: Reading) -> list[Site]:
    """The sites that are kept, in the shapes in which they are."""
    names = set(match(patterns, [site.name for site in found]))
    return [site.only(_indices(site, positions, reading)) for site in found if site.name in names]


def _indices(site: Site, positions: Places, reading: Reading) -> tuple[int, list[int]] | None:
    """The axis of tokens and the indices that are kept of it; None: all."""
    axis = token_axis(site.axes)
    if positions is None or axis is None:
        return None
    count = reading.num_source if is_of_source(site.name, site.axes) else reading.length
    return axis, chosen(positions, count).within(0, count)


def _check_single(reading: Reading) -> None:
    if len(reading.ids) != 1:
        raise CutawayError(f"Steps are traced of one text, and there are {len(reading.ids)}. Give one.")
