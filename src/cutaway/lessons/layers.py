"""What heads, layers and the feed-forward network add. In: a text. Out: what is lost without each, and what each adds.

The stream of a token is a sum: the input, and what every sublayer added (Elhage et al. 2021). So the share of a part in the
stream at the end is exact and the shares add up to 1:

    end = start + Σ part,    share(part) = part · end / |end|²

What a part is good for is measured by leaving it out: the loss on the text without it, less the loss with it (Michel et al. 2019
for heads). What the stream would say at each depth is the logit lens (nostalgebraist 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError
from ..lens.edits import Edit
from ..lens.numerals import chance, count, number, small
from ..lens.stream import would_say
from ..lens.words import Words
from ..lm import LM
from .figures import Bar, Bars, Matrix, Table
from .lesson import Check, Entry, Finding, Shown
from .live import logits, need_writer, run, some_tokens, words_of
from .settings import Setting, Settings, choice, text, whole

EQUAL = 1e-4
MOST_SWITCHES = 300
PARTS = {"head": "head", "attention": "all heads", "feedforward": "the feed-forward network"}


@dataclass(frozen=True, slots=True)
class Stream:
    """start, end: [position, d_model]; parts: what each sublayer added, by site; all of one pass."""

    start: Tensor
    end: Tensor
    parts: Mapping[str, Tensor]

    @property
    def gap(self) -> float:
        """How far the sum of all parts is from the end, at most, as a share of the end's largest number."""
        total = self.start + torch.stack(list(self.parts.values())).sum(0)
        return float((total - self.end).abs().max() / self.end.abs().max().clamp_min(1e-30))

    def shares(self) -> dict[str, float]:
        """The share of the start and of each part in the end, the mean over tokens."""
        square = self.end.square().sum(-1).clamp_min(1e-30)
        named = {"input": self.start, **self.parts}
        return {site: float(((part * self.end).sum(-1) / square).mean()) for site, part in named.items()}


def settings(lm: LM) -> tuple[Setting, ...]:
    """A text, and a part to switch off."""
    stack = lm.config.main
    return (
        text("text", "Text", "Once upon a time there was a little girl who loved to play with her dog"),
        choice("off", "Switch off", "head", PARTS),
        whole("layer", "in layer", 0, 0, stack.num_layers - 1),
        whole("head", "Head", min(1, stack.attention.num_heads - 1), 0, stack.attention.num_heads - 1),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model that continues no text, or is too large to leave out every head of."""
    need_writer(lm)
    stack = lm.config.main
    if (switches := stack.num_layers * (stack.attention.num_heads + 2)) > MOST_SWITCHES:
        raise CutawayError(
            f"'{lm.name}' has {switches:,} parts, and this lesson switches off each. It takes {MOST_SWITCHES} at "
            "most: take --model stories."
        )


def show(lm: LM, given: Settings) -> Shown:
    """Leave out every part once, and look at the stream on its way up."""
    ids, words, stack = some_tokens(lm, given.text("text"), least=3), words_of(lm), lm.config.main
    layer, head, off = given.whole("layer"), given.whole("head"), given.text("off")
    plain, costs = costs_of(lm, ids)
    stream, lens = stream_of(lm, ids)
    heads = [(i, j) for i in range(stack.num_layers) for j in range(stack.attention.num_heads)]
    cost, worst = costs[layer, head if off == "head" else off], max(heads, key=lambda place: costs[place])
    what = f"{PARTS[off]}{f' {head}' if off == 'head' else ''} of layer {layer}"
    return Shown(
        text=_text(stack.attention.num_heads, what, (plain, plain + cost), worst, costs[worst]),
        figures=(
            _heads(costs, stack.num_layers, stack.attention.num_heads),
            _lens(lens, ids, words),
            _shares(stream),
            _parts(costs, stack.num_layers),
        ),
        findings=(
            Finding(label="Loss on the text", value=f"{number(plain)} nats for each token"),
            Finding(label=f"Without {what}", value=f"{number(plain + cost)} ({_change(cost)})"),
            Finding(label="All shares of the stream together", value=number(sum(stream.shares().values()), 4)),
        ),
        wrong=Check(
            claim="A stream at the end that is not its start and all that was added.",
            threshold=f"any number off by more than {small(EQUAL)} of the largest",
            found=small(stream.gap),
            holds=stream.gap <= EQUAL,
        ),
        fair="The same text and the same weights every time; a part that is switched off adds zeros, and everything "
        "above it runs as it otherwise would. Losses of one text are one text's: on another, other heads matter.",
    )


def _text(
    num_heads: int, what: str, losses: tuple[float, float], worst: tuple[int, int], missed: float
) -> tuple[str, ...]:
    """The text of the lesson.

    losses: with the part that is switched off, and without it; missed: by how much the worst head is.
    """
    return (
        f"A layer has {count(num_heads, 'head')} that work side by side: each reads the same stream, looks where it "
        "learned to look, and adds its own part. A layer does not replace the stream, it adds to it; the next layer "
        "reads the sum. The feed-forward network then adds something for each token by itself.",
        f"What a part is good for shows when it is switched off. Without {what} the loss on this text goes from "
        f"{number(losses[0])} to {number(losses[1])}. The head that is missed most is head {worst[1]} of layer "
        f"{worst[0]} ({_change(missed)}).",
    )


def costs_of(lm: LM, ids: Sequence[int]) -> tuple[float, dict[tuple[int, int | str], float]]:
    """The mean loss of the text, and how much more it is without each part: by layer, and head, "attention" or "feedforward"."""
    found = lm.lens.ablate(ids)
    costs: dict[tuple[int, int | str], float] = {}
    for layer, heads in enumerate(found.heads):
        costs |= {(layer, head): cost for head, cost in enumerate(heads)}
        costs[layer, "attention"] = _loss_without(lm, ids, f"layers.{layer}.attention.output") - found.whole
        costs[layer, "feedforward"] = found.feedforward[layer]
    return found.whole, costs


def _loss_without(lm: LM, ids: Sequence[int], site: str) -> float:
    """The mean loss of the text where a site is zero."""
    said = logits(lm, run(lm, ids, edits=[Edit(site=site, op="zero")]))
    return float(F.cross_entropy(said[:-1].double(), torch.tensor(ids[1:])))


def stream_of(lm: LM, ids: Sequence[int]) -> tuple[Stream, list[Tensor]]:
    """The stream of a text, and the chances of the next tokens at the start and after each layer: [position, vocab]."""
    num_layers = lm.config.main.num_layers
    trace = lm.trace(ids, ("layers.*.residual.*", "layers.*.attention.output", "layers.*.feedforward.output"))
    sites = [f"layers.{layer}.{part}.output" for layer in range(num_layers) for part in ("attention", "feedforward")]
    ends = ["layers.0.residual.start", *(f"layers.{layer}.residual.end" for layer in range(num_layers))]
    stream = Stream(trace[ends[0]][0].double(), trace[ends[-1]][0].double(), {s: trace[s][0].double() for s in sites})
    return stream, [would_say(lm.model, trace[end])[0] for end in ends]


def _change(cost: float) -> str:
    return f"{number(abs(cost), 3)} {'more' if cost > 0 else 'less'}"


def _heads(costs: Mapping[tuple[int, int | str], float], num_layers: int, num_heads: int) -> Matrix:
    values = tuple(tuple(costs[layer, head] for head in range(num_heads)) for layer in range(num_layers))
    return Matrix(
        title="What is lost without each head",
        caption="The loss on the text without the head, less the loss with it. Negative: this text goes better without it.",
        source="layers.*.attention.mixed set to 0",
        rows=tuple(f"layer {layer}" for layer in range(num_layers)),
        columns=tuple(f"head {head}" for head in range(num_heads)),
        values=values,
        scale=max(abs(value) for row in values for value in row) or 1.0,
        is_share=False,
        digits=3,
    )


def _lens(lens: Sequence[Tensor], ids: Sequence[int], words: Words) -> Table:
    """What would be said at each depth, at the last token that has a next one."""
    place, rows = len(ids) - 2, []
    targets = torch.tensor(ids[1:])
    for depth, chances in enumerate(lens):
        guess = words.guesses(chances[place], 1)[0]
        loss = F.nll_loss(chances[:-1].log(), targets)
        rank = int((chances[place] > chances[place, ids[-1]]).sum()) + 1
        name = f"layer {depth - 1}" if depth else "input"
        rows.append((name, f"{guess.text} {chance(guess.probability)}", f"{rank:,}", number(float(loss))))
    return Table(
        title=f"What would be said after {words.text(ids[place])}, layer by layer",
        caption=f"The text goes on with {words.text(ids[-1])}; its rank among all tokens, and the loss on the whole "
        "text if the model ended there.",
        source="layers.*.residual.end through the final norm and the head",
        heads=("after", "would say", ">rank", ">loss"),
        rows=tuple(rows),
    )


def _shares(stream: Stream) -> Bars:
    rows = []
    for site, share in stream.shares().items():
        layer, part = site.split(".")[1:3] if "." in site else ("", "")
        label = f"layer {layer} {'attention' if part == 'attention' else 'feed-forward'}" if part else "input"
        rows.append(Bar(label=label, value=share, text=chance(share) if share >= 0 else f"−{chance(-share)}"))
    return Bars(
        title="The share of the stream that each adds",
        caption="Of the stream at the end, the mean over the tokens; together 100 %. Negative: it points against "
        "what the rest add up to.",
        source="part · end ÷ |end|²",
        rows=tuple(rows),
        scale=max(abs(row.value) for row in rows) or 1.0,
    )


def _parts(costs: Mapping[tuple[int, int | str], float], num_layers: int) -> Table:
    return Table(
        title="What is lost without all heads of a layer, and without its feed-forward network",
        caption="More loss on the text, in nats for each token.",
        source="layers.*.attention.output, layers.*.feedforward.output set to 0",
        heads=("", ">no heads", ">no feed-forward"),
        rows=tuple(
            (f"layer {layer}", number(costs[layer, "attention"], 3), number(costs[layer, "feedforward"], 3))
            for layer in range(num_layers)
        ),
    )


ENTRY = Entry(
    name="layers",
    title="What do heads and layers add?",
    line="switch one head off; what each layer adds, and what it would say",
    check=check,
    settings=settings,
    show=show,
)
