"""The way from text to text, with every number. In: a model, its tokenizer and a prompt. Out: a `Way`, stage by stage.

text -> tokens -> inputs (word + position) -> heads -> stream -> feed-forward units -> output -> chosen token

One watched pass gives every tensor; each stage is computed from it in a file of its own (tokens, inputs, heads, stream,
units, output), which states its equations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..decode.samplers import Sampling
from ..errors import CutawayError
from ..model import Call, Transformer, layouts
from ..text import Tokenizer
from .heads import Head, HeadSummary, head_of, most_pointed, summaries
from .inputs import Input, inputs_of, order_of
from .output import Output, output_of
from .sites import sites
from .stream import Lens, Reading, lens_of, readings
from .tokens import WayToken, tokens_of
from .trace import Recorder, Trace
from .units import Units, units_of
from .words import Words

LENS_ROWS = 40
NUM_NEIGHBOURS = 8
NUM_UNITS = 8
NUM_GUESSES = 3
NUM_CANDIDATES = 12


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is looked at. is_chosen_for_you: layer and head were not both given; see `heads.most_pointed`."""

    position: int
    layer: int
    head: int
    is_chosen_for_you: bool


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of the model, and how order reaches it: the kind of the stack's positions, and `inputs.order_of`."""

    num_layers: int
    num_heads: int
    d_model: int
    vocab_size: int
    context: int
    position_kind: str
    adds_positions: bool
    order: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """Everything on the way of one prompt. Every number is one of the pass, or follows from it by the equation in its file.

    rule: how this kind of tokenizer cuts text. heads: every head on this text; head: the one looked at. stream: the token
    looked at, from start to end; lens: the tokens around it. trace: the tensors themselves, not part of `as_dict`.
    """

    text: str
    place: Place
    shape: Shape
    rule: str
    tokens: tuple[WayToken, ...]
    inputs: tuple[Input, ...]
    heads: tuple[HeadSummary, ...]
    head: Head
    stream: tuple[Reading, ...]
    lens: Lens
    units: Units
    output: Output
    trace: Trace = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The same as nested mappings and lists for JSON; bytes as hexadecimal, hidden scores as null."""
        stages = {name: value for name, value in vars(self).items() if name != "trace"}
        return {name: _plain(value) for name, value in stages.items()}


@torch.inference_mode()
def way(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    position: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    sampling: Sampling | None = None,
) -> Way:
    """Run the prompt once and take the pass apart.

    position: the token looked at, the last if None. layer, head: if None, the one that looks most pointedly at another token.
    sampling: how the next token is chosen, greedy if None. Raises CutawayError for a model that is not decoder-only with a
    head, an empty prompt or one too long, and a position, layer or head that does not exist.
    """
    _check_model(model)
    rule, tokens = tokens_of(tokenizer, prompt)
    stack = model.main.config
    position = _check_place(model, len(tokens), position, layer, head)
    ids = [token.id for token in tokens]
    words = Words(tokenizer, model.config.vocab_size)
    trace = _run(model, tokens)
    heads = summaries(trace, stack.num_layers, position)
    place = _place(heads, position, layer, head)
    logits = trace["output.logits"][0, position].cpu()
    return Way(
        text=prompt,
        place=place,
        shape=_shape(model),
        rule=rule,
        tokens=tokens,
        inputs=inputs_of(trace, model.token.weight.cpu(), words, NUM_NEIGHBOURS),
        heads=heads,
        head=head_of(model, trace, place.layer, place.head, position),
        stream=readings(model, trace, words, position, NUM_GUESSES),
        lens=lens_of(model, trace, words, window(len(tokens), position, LENS_ROWS)),
        units=units_of(model, trace, words, place.layer, position, NUM_UNITS),
        output=output_of(logits, ids, position, sampling or Sampling(temperature=0), words, NUM_CANDIDATES),
        trace=trace,
    )


def window(num_tokens: int, position: int, size: int) -> range:
    """At most `size` neighbouring tokens: the last ones, or those that end at `position` where it lies before them."""
    end = num_tokens if position >= num_tokens - size else max(position + 1, size)
    return range(max(0, end - size), end)


def _run(model: Transformer, tokens: tuple[WayToken, ...]) -> Trace:
    device = model.token.weight.device
    ids = torch.tensor([[token.id for token in tokens]], device=device)
    recorder = Recorder("*", [site.name for site in sites(model.config, 1, len(tokens))])
    model(ids, Call(layouts.text(model.config, len(tokens), device=device), watch=recorder))
    return recorder.trace(ids, [[token.text for token in tokens]])


def _place(heads: tuple[HeadSummary, ...], position: int, layer: int | None, head: int | None) -> Place:
    allowed = tuple(h for h in heads if layer in (None, h.layer) and head in (None, h.head))
    found = most_pointed(allowed, position)
    is_chosen_for_you = layer is None or head is None
    return Place(position=position, layer=found.layer, head=found.head, is_chosen_for_you=is_chosen_for_you)


def _shape(model: Transformer) -> Shape:
    config, stack = model.config, model.main.config
    return Shape(
        num_layers=stack.num_layers,
        num_heads=stack.attention.num_heads,
        d_model=stack.d_model,
        vocab_size=config.vocab_size,
        context=config.context,
        position_kind=stack.position.kind,
        adds_positions=stack.position.is_table,
        order=order_of(stack),
    )


def _check_model(model: Transformer) -> None:
    if model.config.decoder is None or model.config.has_cross:
        kind = "an encoder and a decoder" if model.config.has_cross else "an encoder only"
        raise CutawayError(
            f"This model has {kind}. The way is shown for decoder-only models, which continue a text. "
            "Look at single tensors with --site (LM.trace in Python), or name a decoder-only model."
        )
    if model.head is None:
        raise CutawayError("This model has no head: it gives vectors, not tokens. Name a model that predicts tokens.")


def _check_place(model: Transformer, length: int, position: int | None, layer: int | None, head: int | None) -> int:
    """The position looked at."""
    if length == 0:
        raise CutawayError("Nothing to look at yet. Type a few words, or start with “Once upon a time”.")
    stack = model.main.config
    if stack.position.is_table and length > model.config.context:
        raise CutawayError(
            f"The prompt has {length:,} tokens. This model reads {model.config.context:,}. Shorten the prompt."
        )
    position = length - 1 if position is None else position
    limits = {
        "position": (position, length, "tokens of the prompt"),
        "layer": (layer, stack.num_layers, "layers"),
        "head": (head, stack.attention.num_heads, "heads of a layer"),
    }
    for name, (value, count, what) in limits.items():
        if value is not None and not 0 <= value < count:
            raise CutawayError(f"{name} is {value}. The {what} are numbered from 0 to {count - 1}.")
    return position


def _plain(value: Any) -> Any:
    """Dataclasses -> mappings, tuples -> lists, bytes -> hexadecimal: what JSON holds."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | None):
        return value
    return asdict(value, dict_factory=lambda items: {name: _leaf(item) for name, item in items})


def _leaf(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [_leaf(item) for item in value] if isinstance(value, tuple | list) else value
