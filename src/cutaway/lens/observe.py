"""Run a model and look. In: a model, what it reads, sites, edits. Out: a `Trace` of one pass, or of every step of a generation.

What a trace will hold is known before anything runs, and refused where it is more than the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..decode import Decoder, Event, Sampling, Session, Step, autoregressive, run
from ..errors import CutawayError
from ..model import Call, Transformer
from .edits import Edit, Edits, make_edits
from .passes import check_single, states_of
from .places import Places, chosen, is_of_source, token_axis
from .reading import Reading
from .sites import Site, match, sites
from .trace import Recorder, Trace

MOST_BYTES = 2**30
Change = Edit | Mapping[str, Any]


def sites_of(model: Transformer, reading: Reading) -> list[Site]:
    """Every site of a pass over what is read, in the order of the way."""
    return sites(model.config, len(reading.ids), reading.length, source=reading.num_source, dtype=_dtype(model))


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
    texts: Callable[[int], str] | None = None,
) -> Trace:
    """Generate with a cache, and keep what the pass that chose each token holds for the token it ran from: [step, batch, …].

    The axes of tokens are gone: a step looks from one token. Keys grow by one a step, and are filled up with zeros behind.
    What belongs to a source is there once, without steps. The ids of the trace are those that were chosen: [1, step]. texts:
    id -> its text, where there is a tokenizer.
    """
    check_single(reading)
    last = _last_step(model, reading, max_tokens)
    names = match(patterns, [site.name for site in last])
    shown = [site for site in last if site.name in names]
    check_budget(shown, max_bytes, max_tokens)
    recorder = StepRecorder(names, {site.name: site.axes for site in last})
    decoder = stepping(model, reading, edits, max_tokens=max_tokens, sampling=sampling, then=recorder)
    ids = [event.new for event in run(decoder) if event.new is not None]
    source_texts = () if reading.source is None else reading.source.texts
    return recorder.steps(torch.tensor([ids]), [[texts(i) for i in ids]] if texts else (), source_texts)


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
    changes = _edits(found, edits, reading, then, more=max_tokens - 1)
    source = None if reading.source is None else reading.source.ids[0].tolist()
    plain = Recorder(changes.to_freeze, [site.name for site in found]) if changes.to_freeze else None
    twin = None if plain is None else Session(model, source_ids=source, watch=plain)
    changes.frozen = {} if plain is None else plain.tensors
    session = Session(model, source_ids=source, watch=changes)
    decoder = autoregressive(session, rows, sampling, max_tokens=max_tokens, eos_ids=eos_ids, request=request)
    return _beside(decoder, session, twin, changes, len(rows))


def run_pass(model: Transformer, reading: Reading, watch: Recorder | Edits) -> None:
    """One pass of every stack, to its last site."""
    states, call = states_of(model, reading, watch), Call(reading.tokens, watch=watch)
    if model.head is not None:
        model.logits(states, call)
    elif model.pooler is not None:
        model.pooled(states, call)
    elif model.labels is not None:
        model.labelled(states, call)


def check_budget(shown: Sequence[Site], max_bytes: int, num_steps: int = 1) -> None:
    """Raises CutawayError, with the figure, for more bytes than max_bytes. num_steps: of a generation; a source is kept once."""
    times = {site: num_steps if _is_of_step(site.name, site.axes) else 1 for site in shown}
    sizes = {site.name: site.num_bytes * count for site, count in times.items()}
    if (total := sum(sizes.values())) > max_bytes:
        largest = max(sizes, key=lambda name: sizes[name])
        raise CutawayError(
            f"The {len(sizes)} sites would take {total:,} bytes, and max_bytes is {max_bytes:,}; the largest, {largest}, "
            f"takes {sizes[largest]:,}. Ask for fewer sites, positions or tokens, or raise max_bytes."
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
            if axis is None or not _is_of_step(site, axes):
                self.tensors[site] = tensor.detach().clone()
            else:
                self.seen.setdefault(site, []).append(tensor.detach().select(axis, -1).clone())
        return tensor

    def steps(
        self, ids: Tensor, texts: Sequence[Sequence[str]] = (), source_texts: Sequence[Sequence[str]] = ()
    ) -> Trace:
        """All passes as one trace. ids: [1, step], what each pass chose; texts: of these; source_texts: of the source."""
        axes = dict(self.axes)
        for site, each in self.seen.items():
            axis = token_axis(axes[site])
            axes[site] = ("step", *(name for index, name in enumerate(axes[site]) if index != axis))
            self.tensors[site] = _stacked(each)
        found = {site: self.tensors[site] for site in self.axes if site in self.tensors}
        return Trace(found, ids, texts, {site: axes[site] for site in found}, source_texts)


def _last_step(model: Transformer, reading: Reading, max_tokens: int) -> list[Site]:
    """The sites of the pass that sees most: that of the last token chosen."""
    past = max(0, reading.length + max_tokens - 2)
    if model.config.main.position.is_table:
        past = min(past, model.config.context - 1)
    return sites(model.config, 1, 1, past=past, source=reading.num_source, dtype=_dtype(model))


def _is_of_step(site: str, axes: Sequence[str]) -> bool:
    """Whether a site has something new in every pass of a generation."""
    return token_axis(axes) is not None and not is_of_source(site, axes)


def _dtype(model: Transformer) -> str:
    return str(model.token.weight.dtype).removeprefix("torch.")


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """[step, …]; what grew is filled up with zeros."""
    width = max(tensor.shape[-1] for tensor in each)
    return torch.stack([torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in each])


def _beside(decoder: Decoder, session: Session, twin: Session | None, changes: Edits, length: int) -> Decoder:
    """The decoder, with every step made in the twin first: what is frozen comes from there.

    length: tokens of the prompt. The edits are told where in the whole text each pass begins, also when its end is read again.
    """
    answer: Any = None
    while True:
        try:
            wish = decoder.send(answer)
        except StopIteration:
            return
        if isinstance(wish, Step):
            changes.past = length - len(wish.ids)
            if twin is not None:
                twin.rewind(min(twin.length, session.length))
                twin.extend(wish.ids, "none", tokens=wish.tokens, keep=wish.keep)
        elif isinstance(wish, Event):
            length += 1
        answer = yield wish


def _edits(
    found: Sequence[Site],
    edits: Sequence[Change],
    reading: Reading,
    then: Recorder | None,
    *,
    more: int = 0,
) -> Edits:
    made = make_edits(edits, found, num_tokens=reading.length, num_source=reading.num_source, more=more, then=then)
    if made.counts_from_end:
        _check_ends(reading)
    return made


def _check_ends(reading: Reading) -> None:
    """Raises CutawayError for texts of different lengths: what is counted from the end would be padding in some."""
    for each in (reading, reading.source):
        if each is not None and len(set(each.lengths)) > 1:
            raise CutawayError(
                f"positions are counted from the end, and the texts have different lengths: {min(each.lengths)} to "
                f"{max(each.lengths)} tokens. Count from the beginning, or trace them one by one."
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
    found = chosen(positions, count)
    if found.is_from_end:
        _check_ends(reading)
    return axis, found.within(0, count)
