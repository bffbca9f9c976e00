"""What an encoding is, and how much of an input is position. In: a text. Out: the share of position in every dimension.

A model without recurrence is told the order: it adds to each token's row t a row p that depends on the place alone (Vaswani et
al. 2017 §3.5). Of dimension d of the input, position is, over the tokens of a text,

    share(d) = Σ p(d)² / (Σ t(d)² + Σ p(d)²)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..lens.edits import Edit
from ..lens.numerals import chance, number
from ..lens.words import Words
from ..lm import LM
from .figures import Curve, Line, Strips, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_table, need_writer, some_tokens, spread, strip, words_of
from .settings import Setting, Settings, real, text

ALONE = 0.999
ENCODED = {
    "sinusoidal": "sines and cosines of it, some fast and some slow, a number for each dimension.",
    "learned": "a vector for each place, learned like those of the tokens.",
}
NUM_ENDS = 4


@dataclass(frozen=True, slots=True)
class Shares:
    """Position's share. dimensions: [d_model], of each; whole: of all; varying: of what differs from token to token."""

    dimensions: Tensor
    whole: float
    varying: float


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """A text, and how strongly positions are added."""
    return (
        text("text", "Text", "Once upon a time there was a little cat who lived in a house by the sea"),
        real("times", "Positions, times", 1, 0, 8, step=0.25),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model that continues no text or adds no positions."""
    need_writer(lm)
    need_table(lm)


def show(lm: LM, given: Settings) -> Shown:
    """Measure the share of position in each dimension, and what the model says when positions are weaker or stronger."""
    ids, times, words = some_tokens(lm, given.text("text"), least=2), given.real("times"), words_of(lm)
    token, position, loss = inputs(lm, ids, times)
    beside = "" if times == 1 else f" (× 1: {number(inputs(lm, ids, 1)[2])})"
    found = shares(token, position)
    most = float(found.dimensions.max())
    above = int((found.dimensions > 0.5).sum())
    return Shown(
        text=(
            "An encoding writes something as numbers. Here it is the place of a token: "
            f"{ENCODED[lm.config.main.position.kind]} It is added to the token's own vector, number by number. From "
            "then on both are one list, and no dimension is set aside for either.",
            f"So is the input all position? On this text position makes up {chance(found.whole)} of it. Of "
            f"{len(found.dimensions)} dimensions {above} are more position than word; the most positional has "
            f"{chance(most)}, and the least {chance(float(found.dimensions.min()))}.",
        ),
        figures=(
            _strips(token, position, ids, words),
            _sorted(found),
            _ends(token, position, found),
        ),
        findings=(
            Finding(label="Position, of the whole input", value=chance(found.whole)),
            Finding(label="Position, of what differs between tokens", value=chance(found.varying)),
            Finding(label="Dimensions that are more position than word", value=f"{above} of {len(found.dimensions)}"),
            Finding(label=f"Loss on the text, positions × {times:g}", value=number(loss) + beside),
        ),
        wrong=Check(
            claim="A dimension of the input that is position alone, or an input without any position.",
            threshold=f"a share above {100 * ALONE:g} % in one dimension, or 0 in all",
            found=f"the largest share is {chance(most)}",
            holds=0 < most <= ALONE,
        ),
        fair="Both parts are taken where they are added, before any layer, over the same tokens. Shares are of "
        "squares, as lengths are, so they add up to 1.",
    )


def inputs(lm: LM, ids: Sequence[int], times: float) -> tuple[Tensor, Tensor, float]:
    """The token rows and the position rows as they are added, both [position, d_model], and the mean loss of the text in nats."""
    sites = ("embedding.token", "embedding.position")
    edits = [Edit(site="embedding.position", op="scale", value=times)]
    trace = lm.trace(ids, (*sites, "output.logits"), edits=edits)
    targets = lm.model.token.weight.new_tensor(ids[1:]).long()
    loss = F.cross_entropy(trace["output.logits"][0, :-1].double(), targets)
    token, position = (trace[site][0].double() for site in sites)
    return token, position, float(loss)


def shares(token: Tensor, position: Tensor) -> Shares:
    """token, position: [position, d_model]. A dimension of zeros has the share 0."""
    t, p = token.square().sum(0), position.square().sum(0)
    moved = position.var(0).sum() / (position.var(0).sum() + token.var(0).sum()).clamp_min(1e-30)
    return Shares(p / (t + p).clamp_min(1e-30), float(p.sum() / (t.sum() + p.sum()).clamp_min(1e-30)), float(moved))


def _strips(token: Tensor, position: Tensor, ids: Sequence[int], words: Words) -> Strips:
    last = len(ids) - 1
    return Strips(
        title=f"The input of {words.text(ids[-1])}, place {last}",
        caption="Word and position as they are added, and their sum.",
        source="embedding.token, embedding.position, embedding.sum",
        rows=(
            strip("word", token[-1], "learned", f"length {number(float(token[-1].norm()))}"),
            strip("+ position", position[-1], "learned", f"length {number(float(position[-1].norm()))}"),
            strip(
                "= input",
                token[-1] + position[-1],
                "computed",
                f"length {number(float((token + position)[-1].norm()))}",
            ),
        ),
        scale=spread(token[-1], position[-1]),
    )


def _sorted(found: Shares) -> Curve:
    """The shares in order of size."""
    values = found.dimensions.sort(descending=True).values.tolist()
    return Curve(
        title="Position's share in each dimension, the most positional first",
        caption="Were the dimensions divided between word and position, it would fall from 100 % to 0 in one step.",
        source="embedding.position² ÷ (embedding.token² + embedding.position²)",
        x="rank",
        y="share",
        lines=(Line(label="share", points=tuple((float(rank), value) for rank, value in enumerate(values, start=1))),),
        is_share=True,
    )


def _ends(token: Tensor, position: Tensor, found: Shares) -> Table:
    """The most and the least positional dimensions, with what makes them so."""
    order = found.dimensions.argsort(descending=True).tolist()
    rows = []
    for dimension in (*order[:NUM_ENDS], *order[-NUM_ENDS:]):
        sizes = (float(part[:, dimension].square().mean().sqrt()) for part in (token, position))
        rows.append((str(dimension), *(number(size, 3) for size in sizes), chance(float(found.dimensions[dimension]))))
    return Table(
        title="The most and the least positional dimensions",
        caption="Sizes are root mean squares over the tokens of the text.",
        source="embedding.token, embedding.position",
        heads=(">dimension", ">word", ">position", ">share"),
        rows=tuple(rows),
    )


ENTRY = Entry(
    name="encoding",
    title="Is the input all position?",
    line="what an encoding is, and its share of every dimension",
    check=check,
    settings=settings,
    show=show,
)
