"""One run. In: an ask and an open model. Out: a `Pass`: what the model read, and every tensor of the pass but the largest.

Recorded are the stream, queries, keys, values, mixes, and the feed-forward layers (float32). Scores and weights, which grow with
the square of the text, are made on demand (`attended`), and so are logits, which grow with the vocabulary. What an edit changes
is recorded whatever its size, so that it is shown as it was used.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...config import StackConfig
from ...decode import Sampling, Session, autoregressive, run
from ...decode.autoregressive import first_id
from ...errors import CutawayError, near
from ...lens.edits import make_edits
from ...lens.observe import MOST_BYTES, check_budget
from ...lens.placeless import placeless
from ...lens.reading import Reading
from ...lens.sites import Site, sites
from ...lens.trace import Recorder, Trace
from ...model import Call, Transformer, layouts
from ...model import visibility as visible
from ...model.call import Watch
from ...model.transformer import Stack
from ...model.visibility import Tokens
from ...runtime.kernels import attend
from .asks import AskRun
from .numbers import RULE, check_numbers
from .reading import MOST_TOKENS, Encoded, read
from .shelf import Opened

NOT_RECORDED = ("scores", "weights", "logits", "feedforward.input")
_START = re.compile(r"layers\.(\d+)\.residual\.start$")
EMPTY = "Nothing to look at yet. Type a few words, or start with “Once upon a time”."
PER_SOURCE_TOKEN, EXTRA = 2, 10  # the most tokens that an encoder-decoder says by itself, as in tasks/translate.py


@dataclass(frozen=True, kw_only=True)
class Strand:
    """One stack of a run. name: "" where there is one stack; scope: what its sites begin with; tokens: who sees whom."""

    name: str
    scope: str
    stack: Stack
    reading: Encoded
    tokens: Tokens
    source: Strand | None = None

    @property
    def config(self) -> StackConfig:
        """The architecture of the stack."""
        return self.stack.config

    def __len__(self) -> int:
        return len(self.reading.tokens)

    def check(self, token: int) -> int:
        """The token itself. Raises CutawayError outside of the run."""
        return within("token", token, len(self), "tokens of the run")

    def layer(self, layer: int) -> int:
        """The layer itself. Raises CutawayError outside of the stack."""
        return within("layer", layer, self.config.num_layers, "layers")

    def head(self, head: int) -> int:
        """The head itself. Raises CutawayError outside of a layer."""
        return within("head", head, self.config.attention.num_heads, "heads of a layer")


@dataclass(kw_only=True)
class Pass:
    """A run with all that it recorded. model: with or without positions. lock: guards what is computed later and kept."""

    ask: AskRun
    opened: Opened
    model: Transformer
    strands: tuple[Strand, ...]
    trace: Trace
    seconds: float
    lock: threading.RLock = field(default_factory=threading.RLock)
    kept: dict[object, object] = field(default_factory=dict)

    @property
    def main(self) -> Strand:
        """The stack whose output becomes logits."""
        return self.strands[-1]

    def strand(self, name: str) -> Strand:
        """The stack of a name; "" names the only one, and of two the decoder."""
        found = {strand.name: strand for strand in self.strands}
        if name not in found and name:
            raise CutawayError(f"There is no stack '{name}' in this run.{near(name, filter(None, found))}")
        return found.get(name, self.main)

    def tensor(self, site: str) -> Tensor:
        """What was recorded at a site, without its batch of one. Raises CutawayError for a site that was not."""
        if site in self.trace:
            return self.trace[site][0]
        raise CutawayError(f"This run has no site '{site}'.{near(site, self.trace)}")

    def logits(self, first: int, end: int) -> Tensor:
        """The logits of some tokens of the last stack: [position, vocab]. Raises CutawayError for a model without a head."""
        if self.model.head is None:
            raise CutawayError("This model has no head: it gives vectors, not tokens.")
        if "output.logits" in self.trace:
            return self.trace["output.logits"][0, first:end]
        with torch.inference_mode():
            states = self.tensor(f"{self.main.scope}output.norm")[None, first:end]
            logits: Tensor = self.model.logits(states, Call(visible.full(end - first)))[0]
        return logits

    @property
    def read(self) -> Reading:
        """What was read, as the lens has it."""
        return self._read(self.main)

    def _read(self, strand: Strand) -> Reading:
        ids, texts = torch.tensor([strand.reading.ids]), tuple(token.text for token in strand.reading.tokens)
        source = None if strand.source is None else self._read(strand.source)
        return Reading(ids=ids, tokens=strand.tokens, lengths=(len(strand),), texts=(texts,), source=source)

    @property
    def num_bytes(self) -> int:
        """Bytes of what is held."""
        later = [value for value in self.kept.values() if isinstance(value, Tensor)]
        held = {tensor.data_ptr(): tensor for tensor in (*dict(self.trace.items()).values(), *later)}
        return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


class Keeper(Recorder):
    """A recorder that keeps the tensors themselves, for no layer writes into what it has handed on: copies of a long text take
    half a second.
    """

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """Keep it if the site is wanted; it goes on."""
        if site in self.names:
            self.tensors[site] = tensor.detach()
        return tensor


@torch.inference_mode()
def run_pass(opened: Opened, ask: AskRun) -> Pass:
    """Run an ask. Raises CutawayError for a text that cannot be read, and for edits that name no site."""
    started = time.perf_counter()
    with opened.lock:
        model = opened.lm.model if ask.positions else placeless(opened.lm.model)
        strands = _pair(opened, model, ask) if opened.lm.config.has_cross else (_single(opened, model, ask),)
        trace = _record(model, strands, ask.edits)
    return Pass(
        ask=ask, opened=opened, model=model, strands=strands, trace=trace, seconds=time.perf_counter() - started
    )


def within(name: str, value: int, count: int, what: str) -> int:
    """The value itself. Raises CutawayError outside of 0 … count − 1."""
    if not 0 <= value < count:
        raise CutawayError(f"{name} is {value}. The {what} are numbered from 0 to {count - 1}.")
    return value


def _single(opened: Opened, model: Transformer, ask: AskRun) -> Strand:
    config = opened.lm.config
    if ask.target is not None:
        raise CutawayError("target is for models with an encoder and a decoder. This one has one stack: leave it out.")
    before, after = opened.tokenizer.frame
    found = _read(opened, ask.text, config.main, before, () if config.encoder is None else after, ask.more)
    if not found.tokens:
        raise CutawayError(EMPTY)
    tokens = layouts.text(config, len(found.tokens))
    return Strand(name="", scope="", stack=model.main, reading=found, tokens=tokens)


def _pair(opened: Opened, model: Transformer, ask: AskRun) -> tuple[Strand, ...]:
    encoder, decoder = model.encoder, model.decoder
    assert encoder is not None, "a pair has two stacks"
    assert decoder is not None, "a pair has two stacks"
    if not ask.text.strip():
        raise CutawayError(EMPTY)
    before, after = opened.tokenizer.frame
    stacks = opened.lm.config.stacks
    source = _read(opened, ask.text, stacks["encoder"], before, after, ())
    first, more = (first_id(opened.lm.config),), list(ask.more)
    if ask.target is None and not more:
        more = _says(model, source.ids)
    target = _read(opened, ask.target or "", stacks["decoder"], first, (), more)
    one = Strand(
        name="encoder", scope="encoder.", stack=encoder, reading=source, tokens=visible.full(len(source.tokens))
    )
    tokens = visible.causal(len(target.tokens))
    return one, Strand(name="decoder", scope="decoder.", stack=decoder, reading=target, tokens=tokens, source=one)


def _says(model: Transformer, source_ids: Sequence[int]) -> list[int]:
    """What an encoder-decoder says by itself: the likeliest token after the other, without the one that ends."""
    limit = min(PER_SOURCE_TOKEN * len(source_ids) + EXTRA, model.config.context - 1)
    decoder = autoregressive(
        Session(model, source_ids=source_ids), [], Sampling(temperature=0), max_tokens=max(1, limit)
    )
    ids = [event.new for event in run(decoder) if event.new is not None]
    return ids[:-1] if ids and ids[-1] == model.config.tokens.eos else ids


def _read(
    opened: Opened, text: str, stack: StackConfig, before: Sequence[int], after: Sequence[int], more: Sequence[int]
) -> Encoded:
    config = opened.lm.config
    if not opened.has_tokenizer:
        check_numbers(text, config.vocab_size)
    for token_id in more:
        within("more", token_id, opened.tokenizer.vocab_size, "ids")
    is_table = stack.position.is_table
    limit = min(config.context, MOST_TOKENS) if is_table else MOST_TOKENS
    found = read(opened.tokenizer, text, limit, before=before, after=after, more=more)
    if opened.has_tokenizer:
        return found
    return Encoded(text=found.text, rule=RULE, tokens=found.tokens, cut=found.cut)


def _record(model: Transformer, strands: Sequence[Strand], edits: Sequence[Any]) -> Trace:
    """One pass of every stack, watched, with the edits made."""
    main, source = strands[-1], strands[-1].source
    found = sites(model.config, 1, len(main), source=0 if source is None else len(source))
    recorder = Keeper(
        "*", [site.name for site in found]
    )  # one pattern: to match a thousand takes seconds in deep models
    watch = make_edits(
        edits, found, num_tokens=len(main), num_source=0 if source is None else len(source), then=recorder
    )
    check_budget([site for site in found if site.name in watch.steps], MOST_BYTES)
    kept = [site.name for site in found if site.name in watch.steps or _is_kept(site.name)]
    recorder.names = frozenset(kept)
    if watch.to_freeze:
        plain = Recorder(watch.to_freeze, [site.name for site in found])
        _run(model, strands, plain, with_logits=_are_logits(watch.to_freeze))
        watch.frozen = plain.tensors
    ids = _run(model, strands, watch if watch.steps else recorder, with_logits=_are_logits(watch.steps))
    tensors, axes = _with_starts(recorder.tensors, found), {site.name: site.axes for site in found}
    return Trace(tensors, ids, [_texts(main)], axes, [] if source is None else [_texts(source)])


def _run(model: Transformer, strands: Sequence[Strand], watch: Watch, *, with_logits: bool) -> Tensor:
    """A pass to its last site that is wanted. Returns what the last stack read: [batch, position]."""
    main, memory, device = strands[-1], None, model.token.weight.device
    if main.source is not None:
        seen = Call(main.source.tokens.to(device), attend=attend, watch=watch)
        memory = model.encode(torch.tensor([main.source.reading.ids], device=device), seen)
    ids = torch.tensor([main.reading.ids], device=device)
    call = Call(main.tokens.to(device), attend=attend, memory=memory, watch=watch)
    states = model.states(ids, call)
    if model.head is not None and with_logits:
        model.logits(states, call)
    elif model.head is not None:
        model.head.transform(states, call)
    elif model.pooler is not None:
        model.pooled(states, call)
    elif model.labels is not None:
        model.labelled(states, call)
    return ids


def _with_starts(tensors: Mapping[str, Tensor], found: Sequence[Site]) -> dict[str, Tensor]:
    """In the order of the way; what starts a layer is what ended the one below, and is held once."""
    every = dict(tensors)
    for site in found:
        layer = _START.search(site.name)
        if layer and site.name not in every:
            every[site.name] = every[site.name.replace(layer[0], f"layers.{int(layer[1]) - 1}.residual.end")]
    return {site.name: every[site.name] for site in found if site.name in every}


def _is_kept(name: str) -> bool:
    """Whether a site is recorded though nothing edits it."""
    start = _START.search(name)
    return not name.endswith(NOT_RECORDED) and (start is None or start[1] == "0")


def _are_logits(names: Iterable[str]) -> bool:
    return "output.logits" in names


def _texts(strand: Strand) -> list[str]:
    return [token.text for token in strand.reading.tokens]
