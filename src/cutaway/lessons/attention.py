"""Attention as a weighted sum. In: a text, a head, a token. Out: its weights, and the sum recomputed from them.

A head compares the token's query with the keys of all tokens that it may see; softmax makes weights of the scores, which add
up to 1; the result is the sum of the values, each times its weight (Vaswani et al. 2017, eq. 1):

    weights = softmax(q · k × scale),    mixed = Σ weight(j) · value(j)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from ..lens.heads import Head, head_of, most_pointed, summaries
from ..lens.numerals import number, small
from ..lens.trace import Trace
from ..lm import LM
from .figures import Bar, Bars, Strips, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_writer, some_tokens, spread, strip
from .settings import Setting, Settings, text, whole

TEXT = "Tom had a red ball. Tom loved the red"
EQUAL = 1e-5
NUM_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Sum:
    """parts: [key, d_head], each value times its weight; total: [d_head], their sum; mixed: [d_head], what the model computed."""

    parts: Tensor
    total: Tensor
    mixed: Tensor

    @property
    def gap(self) -> float:
        """How far the sum is from what the model computed, at most, as a share of the largest number where that is above 1."""
        return float((self.total - self.mixed).abs().max() / self.mixed.abs().max().clamp_min(1))


def settings(lm: LM) -> tuple[Setting, ...]:
    """A text, a token, and a head: at first the one that looks most at a single token."""
    stack = lm.config.main
    ids = lm.ids(TEXT)
    found = most_pointed(
        summaries(lm.trace(ids, "layers.*.attention.weights"), stack.num_layers, len(ids) - 1), len(ids) - 1
    )
    return (
        text("text", "Text", TEXT),
        whole("token", "Token that looks, −1 the last", -1, -1, 63),
        whole("layer", "Layer", found.layer, 0, stack.num_layers - 1),
        whole("head", "Head", found.head, 0, stack.attention.num_heads - 1),
    )


def show(lm: LM, given: Settings) -> Shown:
    """Take a head apart and add it up again."""
    ids = some_tokens(lm, given.text("text"), least=2)
    place = given.whole("token")
    place = len(ids) - 1 if place < 0 else place
    if place >= len(ids):
        raise CutawayError(
            f"token is {place}. The tokens of this text are numbered from 0 to {len(ids) - 1}; −1 is the last."
        )
    layer, head = given.whole("layer"), given.whole("head")
    trace = lm.trace(ids, f"layers.{layer}.attention.*")
    found, added = head_of(lm.model, trace, layer, head, place), added_up(lm, trace, layer, head, place)
    tokens, weights = trace.tokens, found.weights[place]
    strongest = tokens[found.strongest[place]]
    return Shown(
        text=(
            f"A head lets a token take something from other tokens. {tokens[place]} asks with its query; every token "
            "that it may see answers with its key. The better the two fit, the larger the weight. Weights are "
            "shares: they add up to 1.",
            "What the head hands on is the sum of the values, each times its weight, and nothing else. Here "
            f"{tokens[place]} takes most from {strongest}, {number(max(weights))} of the whole. Multiply and add it "
            "yourself: the last two rows below are the same.",
        ),
        figures=(_bars(found, tokens, place), _ledger(found, tokens), _strips(added, weights, tokens, layer, head)),
        findings=(
            Finding(label="Weights add up to", value=number(sum(weights), 4)),
            Finding(
                label="Tokens that may be seen",
                value=f"{sum(s.score is not None for s in found.sources)} of {len(tokens)}",
            ),
            Finding(label="Length of the sum", value=number(float(added.total.norm()))),
        ),
        wrong=Check(
            claim="A sum of the weighted values that is not what the model computed.",
            threshold=f"any number that differs by more than {small(EQUAL)}",
            found=small(added.gap),
            holds=added.gap <= EQUAL,
        ),
        fair="Weights and values are those of the pass; the sum is taken here once more, in double precision, one "
        "token after the other.",
    )


def added_up(lm: LM, trace: Trace, layer: int, head: int, place: int) -> Sum:
    """The sum of one head's weighted values for one token. trace: with the attention sites of the layer."""
    stack = lm.config.main
    group = stack.attention.num_heads // stack.attention.kv_heads
    values = trace[f"layers.{layer}.attention.value"][0, head // group].double()
    weights = trace[f"layers.{layer}.attention.weights"][0, head, place].double()
    total, parts = torch.zeros_like(values[0]), []
    for weight, value in zip(weights.tolist(), values, strict=True):
        parts.append(weight * value)
        total = total + parts[-1]
    return Sum(torch.stack(parts), total, trace[f"layers.{layer}.attention.mixed"][0, head, place].double())


def _bars(found: Head, tokens: tuple[str, ...], place: int) -> Bars:
    strongest = found.strongest[place]
    rows = [
        Bar(label=f"{index} {tokens[index]}", value=weight, text=number(weight, 3), is_looked=index == strongest)
        for index, weight in enumerate(found.weights[place])
        if found.sources[index].score is not None
    ]
    return Bars(
        title=f"What {tokens[place]} looks at, layer {found.layer}, head {found.head}",
        caption="Weights, from 0 to 1.",
        source=f"layers.{found.layer}.attention.weights[0, {found.head}, {place}]",
        rows=tuple(rows),
        scale=1.0,
    )


def _ledger(found: Head, tokens: tuple[str, ...]) -> Table:
    seen = [source for source in found.sources if source.score is not None]
    shown = sorted(sorted(seen, key=lambda source: -source.weight)[:NUM_SHOWN], key=lambda source: source.index)
    rows = [
        (tokens[s.index], number(s.product), number(s.score or 0.0), number(s.weight, 3), number(s.value_norm))
        for s in shown
    ]
    return Table(
        title="How a weight comes about",
        caption=f"{_score(found)} Softmax over all scores gives the weights. The strongest {len(rows)}.",
        source="softmax(score)",
        heads=("from", ">q · k", ">score", ">weight", ">|value|"),
        rows=tuple(rows),
    )


def _score(found: Head) -> str:
    """How this model makes a score, in a sentence."""
    cap = "" if found.softcap is None else f", capped at ±{found.softcap:g} by tanh"
    bias = ", and a number for the distance of the two is added" if found.has_bias else ""
    return f"The score is q · k × {found.scale:.3g}{cap}{bias}."


def _strips(added: Sum, weights: tuple[float, ...], tokens: tuple[str, ...], layer: int, head: int) -> Strips:
    order = sorted(range(len(weights)), key=lambda index: -weights[index])
    shown = sorted(order[: NUM_SHOWN - 2])
    others = added.total - added.parts[shown].sum(0)
    rest = max(0.0, 1 - sum(weights[index] for index in shown))
    rows = [strip(f"{number(weights[i])} × {tokens[i]}", added.parts[i]) for i in shown]
    return Strips(
        title="Values times weights, and their sum",
        caption="All rows share one scale.",
        source=f"layers.{layer}.attention.mixed[0, {head}]",
        rows=(
            *rows,
            strip(f"{number(rest)} × others", others),
            strip("sum", added.total),
            strip("the model's", added.mixed),
        ),
        scale=spread(added.total, added.parts[shown]),
    )


ENTRY = Entry(
    name="attention",
    title="What does attention add up?",
    line="a weighted sum, with its weights, added up again",
    check=need_writer,
    settings=settings,
    show=show,
)
