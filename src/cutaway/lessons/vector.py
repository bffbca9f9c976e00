"""What a vector, a dimension and a continuous space are. In: two words and a place between them. Out: what is there.

A token's row of the table is a list of numbers: a vector. On the straight line from row a to row b lie points that are no
token's,

    m(t) = (1 − t) · a + t · b

and the model takes any of them for an input. Its output follows without a jump: a network of sums, products and smooth
functions is continuous (Bengio et al. 2003 for words as points of such a space).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..lens.edits import Edit
from ..lens.inputs import nearest as nearest_rows
from ..lens.numerals import chance, number
from ..lens.words import Words
from ..lm import LM
from .figures import Bars, Curve, Line, Strips, Table
from .lesson import Check, Entry, Finding, Shown
from .live import cosine_bars, need_writer, one_token, spread, strip, words_of
from .settings import Setting, Settings, real, text, whole

BEFORE = "The"
PLACES, HALVINGS = 10, 7
SHORTEST = PLACES * 2**HALVINGS  # so many of the shortest steps are the whole way
MOST = 0.05  # of the whole way's change: what the shortest step may change
NUM_WORDS = 4


def settings(lm: LM) -> tuple[Setting, ...]:
    """Two words, a place between them, and a dimension to look at."""
    return (
        text("word", "From the word", "cat", most=30),
        text("other", "to the word", "dog", most=30),
        real("mix", "How far on the way", 0.5, 0.05, 0.95),
        whole("dimension", "Dimension", 0, 0, lm.config.main.d_model - 1),
    )


def show(lm: LM, given: Settings) -> Shown:
    """Look at two rows, at the line between them, and at what the model makes of it."""
    words, table = words_of(lm), lm.model.token.weight.detach()
    spoken = given.text("word").strip(), given.text("other").strip()
    ids = [one_token(lm, word) for word in spoken]
    first, second = table[ids[0]], table[ids[1]]
    mix, dimension = given.real("mix"), given.whole("dimension")
    names = [words.text(i) for i in ids]
    point = torch.lerp(first, second, mix)
    at = torch.linspace(0, 1, PLACES + 1)
    jump = largest_jump(lm, first, second)
    return Shown(
        text=_text(spoken, len(first), mix, nearest(point, table, words)[0][0]),
        figures=(
            _strips(names, first, second, point),
            _nearest_bars(point, table, words),
            _curve(lm, first, second, at, names),
            _dimension(table, words, dimension),
        ),
        findings=(
            Finding(label="Numbers in a vector", value=str(len(first))),
            Finding(label=f"Dimension {dimension} of the three", value=_three(first, second, point, dimension)),
            Finding(label="Distance from the one word to the other", value=number(float((first - second).norm()))),
        ),
        wrong=Check(
            claim="A place on the way where the next word's chances jump.",
            threshold=f"within 1/{SHORTEST:,} of the way, more than {chance(MOST)} of what the whole way changes",
            found=f"{chance(jump)} where it is steepest",
            holds=jump <= MOST,
        ),
        fair=f"Only the vector changes: the token before it (“{BEFORE}”), its position and every weight stay as they are.",
    )


def _text(spoken: tuple[str, str], length: int, mix: float, near: str) -> tuple[str, ...]:
    """The text of the lesson."""
    return (
        f"A token enters the model as a vector: a list of {length} numbers, one for each dimension. “{spoken[0]}” is "
        f"one such list and “{spoken[1]}” another. Read as coordinates, a list is a point in a space of {length} "
        "dimensions.",
        f"Tokens are discrete, but the space is continuous: between any two points there are others. {chance(mix)} of "
        f"the way from “{spoken[0]}” to “{spoken[1]}” lies a point that is no token's. The nearest word to it is "
        f"{near}, and the model takes the point itself for an input as well.",
    )


def chances(lm: LM, vectors: Tensor) -> Tensor:
    """The next word's chances after BEFORE and a vector in place of a word. vectors: [batch, d_model] -> [batch, vocab]."""
    before = lm.ids(BEFORE)
    rows = torch.tensor([[*before, before[-1]]]).expand(len(vectors), -1)

    put = Edit(
        site="embedding.token",
        op="set",
        positions=[len(before)],
        value=vectors.unsqueeze(1) * lm.config.embedding_scale,
    )
    return lm.trace(rows, "output.logits", edits=[put])["output.logits"][:, -1].double().softmax(-1)


def largest_jump(lm: LM, first: Tensor, second: Tensor) -> float:
    """What the shortest step of the steepest place changes, as a share of what the whole way changes; 0 for equal vectors.

    The way is cut into PLACES steps, and the one that changes most is halved HALVINGS times, always into the half that changes
    more. Where there is no jump, a step half as long changes half as much. first, second: [d_model]. The change is the total
    variation distance of the next word's chances.
    """

    def said(at: Tensor) -> Tensor:
        return chances(lm, torch.stack([torch.lerp(first, second, float(t)) for t in at]))

    at = torch.linspace(0, 1, PLACES + 1)
    found = said(at)
    whole_way = (found[-1] - found[0]).abs().sum() / 2
    for _ in range(HALVINGS):
        left = int((found[1:] - found[:-1]).abs().sum(-1).argmax())
        at = torch.tensor([at[left], (at[left] + at[left + 1]) / 2, at[left + 1]])
        found = torch.stack([found[left], said(at[1:2])[0], found[left + 1]])
    jump = (found[1:] - found[:-1]).abs().sum(-1).max() / 2
    return float(jump / whole_way) if whole_way > 0 else 0.0


def nearest(point: Tensor, table: Tensor, words: Words) -> list[tuple[str, float]]:
    """The words whose rows have the largest cosine with a point, and the cosines. point: [d_model]; table: [vocab, d_model]."""
    found = nearest_rows(F.normalize(table, dim=-1), point, (), words.are_words(), words, NUM_WORDS)
    return [(each.text, each.cosine) for each in found]


def _strips(names: Sequence[str], first: Tensor, second: Tensor, point: Tensor) -> Strips:
    return Strips(
        title="Two words and a point between them",
        caption="A dimension stands under itself. The third row is a mix of the other two, number by number.",
        source="embedding.token",
        rows=(
            strip(names[0], first, "learned", f"length {number(float(first.norm()))}"),
            strip(names[1], second, "learned", f"length {number(float(second.norm()))}"),
            strip("the mix", point, "computed", f"length {number(float(point.norm()))}"),
        ),
        scale=spread(first, second),
    )


def _nearest_bars(point: Tensor, table: Tensor, words: Words) -> Bars:
    said = "Cosine: 1 is the same direction, 0 a right angle."
    return cosine_bars("The words nearest to the mix", said, nearest(point, table, words))


def _curve(lm: LM, first: Tensor, second: Tensor, at: Tensor, names: list[str]) -> Curve:
    """How the next word's chances move along the way."""
    found = chances(lm, torch.stack([torch.lerp(first, second, float(t)) for t in at]))
    gone = (found - found[0]).abs().sum(-1) / 2
    return Curve(
        title=f"What the model says next, on the way from {names[0]} to {names[1]}",
        caption=f"After “{BEFORE}” and the point on the way: the share of the next word's chances that has moved.",
        source="output.logits",
        x="way",
        y="moved",
        lines=(Line(label="moved", points=tuple(zip(at.tolist(), gone.tolist(), strict=True))),),
        is_share=True,
    )


def _dimension(table: Tensor, words: Words, dimension: int) -> Table:
    """The words at both ends of one dimension."""
    column = table[:, dimension]
    is_word = words.are_words()
    high = column.masked_fill(~is_word, -torch.inf).topk(NUM_WORDS).indices.tolist()
    low = (-column).masked_fill(~is_word, -torch.inf).topk(NUM_WORDS).indices.tolist()
    rows = zip(high, low, strict=True)
    return Table(
        title=f"The ends of dimension {dimension}",
        caption="A single dimension seldom means anything that has a name: meaning lies in directions, most of them across many.",
        source=f"embedding.token[:, {dimension}]",
        heads=("most", ">number", "least", ">number"),
        rows=tuple((words.text(a), number(float(column[a])), words.text(b), number(float(column[b]))) for a, b in rows),
    )


def _three(first: Tensor, second: Tensor, point: Tensor, dimension: int) -> str:
    return ", ".join(number(float(vector[dimension]), 3) for vector in (first, second, point))


ENTRY = Entry(
    name="vector",
    title="What is a vector, and a dimension?",
    line="a list of numbers, and the points that lie between two of them",
    check=need_writer,
    settings=settings,
    show=show,
)
