"""What "embedded" means. In: two pairs of words. Out: how alike the vectors of each pair are.

Training gives each token a row of the table, and rows of words that are used alike come to point alike (Mikolov et al. 2013). The
likeness of two rows is the cosine of the angle between them, a · b / (|a| |b|).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..lens.inputs import neighbours
from ..lens.numerals import number
from ..lens.words import Words
from ..lm import LM
from .figures import Bars, Matrix, Table
from .lesson import Check, Entry, Finding, Shown
from .live import cosine_bars, need_words, one_token, words_of
from .settings import Setting, Settings, text

WORDS = {"first": "cat", "second": "dog", "third": "apple", "fourth": "bicycle"}
NUM_NEIGHBOURS = 5
NUM_PAIRS, SEED = 4000, 0


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """Four words: two pairs."""
    labels = ("One pair", "and", "The other pair", "and")
    return tuple(text(name, label, WORDS[name], most=30) for name, label in zip(WORDS, labels, strict=True))


def show(lm: LM, given: Settings) -> Shown:
    """Measure the angles between four rows, and between strangers."""
    words, table = words_of(lm), lm.model.token.weight.detach().float()
    spoken = [given.text(name).strip() for name in WORDS]
    ids = [one_token(lm, word) for word in spoken]
    cosines = alike(table[ids])
    near, far = float(cosines[0, 1]), float(cosines[2, 3])
    pairs = strangers(table, words)
    pair, other = f"{spoken[0]} and {spoken[1]}", f"{spoken[2]} and {spoken[3]}"
    return Shown(
        text=(
            f"“Embedded” means: put into a space. The table of the model has a row of {table.shape[1]} numbers for "
            "each token, and the row is all that the layers are told of the token itself. Nobody wrote the rows. Training moved "
            "them, a little for each text, and words that are used alike ended up pointing alike.",
            f"The cosine of {pair} is {number(near)}; that of {other} is {number(far)}. Two words drawn at random "
            f"have {number(float(pairs.mean()))} on average.",
        ),
        figures=(
            _matrix(cosines, ids, words),
            _bars((pair, near), (other, far), pairs),
            _neighbours(table, ids, words),
        ),
        findings=(
            Finding(label=f"{spoken[0]} · {spoken[1]}", value=_worked(table[ids[0]], table[ids[1]])),
            Finding(label=f"{spoken[2]} · {spoken[3]}", value=_worked(table[ids[2]], table[ids[3]])),
            Finding(
                label=f"Strangers less alike than {pair}", value=f"{int((pairs < near).sum()):,} of {len(pairs):,}"
            ),
            Finding(
                label=f"Strangers less alike than {other}", value=f"{int((pairs < far).sum()):,} of {len(pairs):,}"
            ),
        ),
        wrong=Check(
            claim=f"{pair[:1].upper()}{pair[1:]} that are no more alike than {other}.",
            threshold="a difference of the cosines of 0 or less",
            found=number(near - far),
            holds=near > far,
        ),
        fair="Each word is one token with a space before it, so four rows of one table are compared, none of them "
        f"put together from parts. The pairs drawn at random are {len(pairs):,}, with seed {SEED}.",
    )


def alike(rows: Tensor) -> Tensor:
    """The cosines of rows with each other. rows: [batch, d_model] -> [batch, batch]."""
    directions = F.normalize(rows, dim=-1)
    return directions @ directions.T


def strangers(table: Tensor, words: Words) -> Tensor:
    """The cosines of pairs of words drawn at random: [batch]. table: [vocab, d_model]."""
    rows = F.normalize(table[words.are_words()], dim=-1)
    drawn = torch.randint(len(rows), (2, NUM_PAIRS), generator=torch.Generator().manual_seed(SEED))
    drawn = drawn[:, drawn[0] != drawn[1]]
    return (rows[drawn[0]] * rows[drawn[1]]).sum(-1)


def _worked(one: Tensor, other: Tensor) -> str:
    """A cosine with its parts."""
    product, lengths = float(one @ other), (float(one.norm()), float(other.norm()))
    cosine = product / (lengths[0] * lengths[1])
    return f"{number(product)} ÷ ({number(lengths[0])} × {number(lengths[1])}) = {number(cosine)}"


def _matrix(cosines: Tensor, ids: list[int], words: Words) -> Matrix:
    labels = tuple(words.text(i) for i in ids)
    return Matrix(
        title="Four words against each other",
        caption="Cosine: 1 is the same direction, 0 a right angle.",
        source="embedding.token",
        rows=labels,
        columns=labels,
        values=tuple(map(tuple, cosines.tolist())),
        role="learned",
        is_share=False,
    )


def _bars(pair: tuple[str, float], other: tuple[str, float], pairs: Tensor) -> Bars:
    rows = (pair, other, ("strangers, mean", float(pairs.mean())))
    return cosine_bars("Two pairs, and strangers", "The same cosines as bars.", rows)


def _neighbours(table: Tensor, ids: list[int], words: Words) -> Table:
    found = neighbours(table, ids, words, NUM_NEIGHBOURS)
    rows = (
        (words.text(i), "  ".join(f"{n.text} {number(n.cosine)}" for n in near))
        for i, near in zip(ids, found, strict=True)
    )
    return Table(
        title="The nearest words of each",
        caption="Of all words of the table.",
        source="embedding.token",
        heads=("word", "nearest, with the cosine"),
        rows=tuple(rows),
    )


ENTRY = Entry(
    name="embedding",
    title="What does “embedded” mean?",
    line="cat and dog against apple and bicycle",
    check=need_words,
    settings=settings,
    show=show,
)
