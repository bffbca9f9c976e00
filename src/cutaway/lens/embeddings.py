"""The tables that a model begins with. In: its token table and words, or its positions. Out: neighbours, analogies, maps.

nearest: the largest cosine between rows. analogy: the rows nearest to a − b + c, each of length 1 first (Mikolov et al. 2013,
"linguistic regularities", §5). map: the rows less their mean, along the two directions in which they spread most (principal
components, by SVD), each with its share of the whole spread. positions: the cosine between the rows of two positions.

What is near in a table says what the model began with, not what a token comes to mean in a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from ..model.embedding import PositionTable
from ..model.position import Rotary
from .charts import Bar, Grid, bars, ramp
from .colour import Theme
from .inputs import Neighbour, nearest, neighbours
from .numerals import chance, number, quoted
from .parts import check_count, stack_name
from .result import Result
from .sheet import MARGIN, SMALL, Sheet
from .words import Names, Words

Token = str | SupportsIndex
"""A text of one token, or its id."""
Place = tuple[float, float, float, float]
"""Left, top, right, bottom: pixels."""
DOT, LETTER = 4.0, 6.4  # pixels: half of a point, and a small letter with room to spare


@dataclass(frozen=True, kw_only=True)
class Neighbourhood(Result):
    """A word and the words nearest to it."""

    id: int
    text: str
    neighbours: tuple[Neighbour, ...]

    def draw(self, theme: Theme = "light") -> Sheet:
        """A bar for each neighbour."""
        return _near(
            f"What lies near {quoted(self.text)}",
            "The largest cosines between rows of the token table.",
            self.neighbours,
            theme,
        )


@dataclass(frozen=True, kw_only=True)
class Analogy(Result):
    """a − b + c, and the words nearest to it; a, b and c themselves are left out, as is usual. cosine_c: of c with the sum."""

    a: str
    b: str
    c: str
    cosine_c: float
    neighbours: tuple[Neighbour, ...]

    def draw(self, theme: Theme = "light") -> Sheet:
        """A bar for each word near the sum."""
        under = (
            f"The words nearest to the sum, these three left out; {quoted(self.c)} itself has {number(self.cosine_c)}."
        )
        return _near(f"{self.a} − {self.b} + {self.c}", under, self.neighbours, theme)


@dataclass(frozen=True, kw_only=True)
class Map(Result):
    """Words in the plane of their two widest directions. points: [word][2]; shares: of the spread, along each of the two."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    shares: tuple[float, float]

    def draw(self, theme: Theme = "light") -> Sheet:
        """The words where they lie, on one scale for both directions."""
        return _mapped(self, theme)


@dataclass(frozen=True, kw_only=True)
class PositionSimilarity(Result):
    """The cosine between the rows of every two positions: cosines[p][q]. kind: learned, sinusoidal or rotary."""

    stack: str
    kind: str
    cosines: tuple[tuple[float, ...], ...]

    def draw(self, theme: Theme = "light") -> Sheet:
        """A square of boxes, from 0 at the upper left."""
        sheet, names = Sheet(720, theme), [str(position) for position in range(len(self.cosines))]
        said = (
            "cosines between rows of the table" if self.kind != "rotary" else "mean cosines of the angles between them"
        )
        y = sheet.title("Which positions are alike", f"Positions of the {self.stack} ({self.kind}): {said}.")
        box = min(24.0, 560 / len(names))
        grid = Grid(values=self.cosines, rows=names, columns=names, scale="learned", box=(box, box), label=28)
        y = grid.draw(sheet, MARGIN, y) + 20
        ramp(sheet, MARGIN, y, "learned", "−1", "+1: the same direction")
        sheet.caption(y + 16, "What the model does with the likeness of positions shows in its attention, not here.")
        return sheet


def word_ids(words: Names, texts: Sequence[Token]) -> tuple[int, ...]:
    """The one token of each text: behind a space, as most words stand, or else as it is written; or the ids themselves.

    Raises CutawayError for a text of several tokens, any text where there is no tokenizer, and an id outside the vocabulary.
    """
    return tuple(_word_id(words, text) for text in texts)


def neighbours_of(
    model: Transformer, words: Names, texts: Sequence[Token], count: int = 8
) -> tuple[Neighbourhood, ...]:
    """The nearest words of each of these. texts: one token each, see `word_ids`."""
    check_count(count)
    ids = word_ids(words, texts)
    found = neighbours(_table(model), ids, words, count)
    pairs = zip(ids, found, strict=True)
    return tuple(Neighbourhood(id=i, text=words.text(i), neighbours=near) for i, near in pairs)


def analogy(model: Transformer, words: Names, a: Token, b: Token, c: Token, count: int = 8) -> Analogy:
    """Which words are to c as a is to b. a, b, c: texts of one token each."""
    check_count(count)
    ids = word_ids(words, (a, b, c))
    directions = F.normalize(_table(model).double(), dim=-1)
    aim = directions[ids[0]] - directions[ids[1]] + directions[ids[2]]
    return Analogy(
        a=words.text(ids[0]),
        b=words.text(ids[1]),
        c=words.text(ids[2]),
        cosine_c=float(F.cosine_similarity(aim, directions[ids[2]], dim=0)),
        neighbours=nearest(directions, aim, ids, words.are_words(), words, count),
    )


def map_of(model: Transformer, words: Names, texts: Sequence[Token]) -> Map:
    """Words in a plane. texts: at least three, of one token each. The largest number of each axis is positive."""
    ids = word_ids(words, texts)
    if len(set(ids)) < 3:
        raise CutawayError(f"A map of {len(set(ids))} words would be a line. Give three or more, each once.")
    points, shares = plane(_table(model)[list(ids)])
    return Map(
        ids=ids,
        texts=tuple(map(words.text, ids)),
        points=tuple((x, y) for x, y in points.tolist()),
        shares=(shares[0], shares[1]),
    )


def plane(rows: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Rows along their two widest directions. rows: [word, d_model] -> [word, 2] float64, and the share of each in the spread."""
    centred = rows.double() - rows.double().mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    points = F.pad(left[:, :2] * sizes[:2], (0, max(0, 2 - len(sizes))))
    largest = points.gather(0, points.abs().argmax(0, keepdim=True))
    total = float(sizes.square().sum())
    shares = [float(size) ** 2 / total if total else 0.0 for size in F.pad(sizes, (0, 1))[:2]]
    return points * torch.where(largest < 0, -1.0, 1.0), (shares[0], shares[1])


def position_similarity(model: Transformer, num_positions: int, *, of_encoder: bool = False) -> PositionSimilarity:
    """The cosine between the rows of the first positions.

    A table has a row for each position. Rotary positions have none; the row of p is (cos p·f, sin p·f) over all frequencies f, so
    that the cosine is the mean of cos((p − q)·f): how alike two positions turn a query whose pairs are of equal length. How
    strongly real queries and keys fall off with distance is another question, and not answered here. Raises CutawayError for
    models without rows: relative, ALiBi, none.
    """
    stack = model.encoder if of_encoder else model.main
    if stack is None:
        raise CutawayError("This model has no encoder. Leave of_encoder out.")
    position = torch.arange(_checked_count(model, num_positions), device=model.token.weight.device).unsqueeze(0)
    kind = stack.config.position.kind
    rotary = next((module for module in stack.rotary.values() if isinstance(module, Rotary)), None)
    if isinstance(stack.embedding.position, PositionTable):
        rows = stack.embedding.position(position)[0]
    elif rotary is not None:
        kind, angles = "rotary", rotary(position)
        rows = torch.cat(angles, dim=-1)[0, 0]
    else:
        raise CutawayError(
            f"The positions of this model are '{kind}': no position has a row, so none are alike. Allowed: learned, sinusoidal, "
            "rotary. Look at the attention scores instead."
        )
    directions = F.normalize(rows.detach().double().cpu(), dim=-1)
    cosines = (directions @ directions.T).clamp(-1, 1).tolist()
    name = "encoder" if of_encoder else stack_name(model)
    return PositionSimilarity(stack=name, kind=kind, cosines=tuple(map(tuple, cosines)))


def _table(model: Transformer) -> Tensor:
    return model.token.weight.detach().cpu()


def _word_id(words: Names, text: Token) -> int:
    if not isinstance(text, str):
        found = index(text)
        if not 0 <= found < words.vocab_size:
            raise CutawayError(f"An id is {found}. Ids run from 0 to {words.vocab_size - 1}.")
        return found
    if not isinstance(words, Words):
        raise CutawayError(f"'{text}' is a word, and this model has no tokenizer: it knows ids only. Name an id.")
    for written in (f" {text}", text):
        ids = words.tokenizer.encode(written)
        if len(ids) == 1:
            return ids[0]
    pieces = " + ".join(f"'{words.text(i)}'" for i in ids) or "nothing"
    raise CutawayError(f"'{text}' is no single token of this model: it is {pieces}. Choose a word that is one token.")


def _checked_count(model: Transformer, count: int) -> int:
    if not 1 <= count <= model.config.context:
        raise CutawayError(f"num_positions is {count}. This model has positions 1 to {model.config.context}.")
    return count


def _near(title: str, under: str, found: Sequence[Neighbour], theme: Theme) -> Sheet:
    sheet = Sheet(560, theme)
    y = sheet.title(title, under)
    rows = [Bar(name=each.text, value=each.cosine, scale="learned") for each in found]
    y = bars(sheet, MARGIN, y, rows, label=96, room=380, span=(0.0, 1.0))
    sheet.caption(y + 16, "Rows of a table are what the model begins with, not what a token comes to mean in a text.")
    return sheet


def _mapped(found: Map, theme: Theme) -> Sheet:
    sheet = Sheet(720, theme)
    across, down = map(chance, found.shares)
    under = (
        f"Their rows of the token table along the two widest directions: {across} of the spread across, {down} down."
    )
    y = sheet.title("Where words lie", under) + 12
    room = sheet.room - 120
    xs, ys = zip(*found.points, strict=True)
    unit = min(room / ((max(xs) - min(xs)) or 1.0), 480 / ((max(ys) - min(ys)) or 1.0))
    places = [(MARGIN + 12 + (px - min(xs)) * unit, y + (max(ys) - py) * unit) for px, py in found.points]
    zero = MARGIN + 12 - min(xs) * unit, y + max(ys) * unit
    bottom, rule = y + (max(ys) - min(ys)) * unit, sheet.paper.rule_2
    sheet.line([zero[0], zero[0]], [y, bottom], rule)
    sheet.line([MARGIN + 12, MARGIN + 12 + (max(xs) - min(xs)) * unit], [zero[1], zero[1]], rule)
    sheet.dots([x for x, _ in places], [y for _, y in places], sheet.shade("learned", 0.5))
    taken = [(x - DOT, level - DOT, x + DOT, level + DOT) for x, level in places]
    for (x, level), text in zip(places, found.texts, strict=True):
        _name(sheet, x, level, text, taken)
    sheet.caption(bottom + 24, "All other directions are left out: words that look near here need not be near.")
    return sheet


def _name(sheet: Sheet, x: float, y: float, text: str, taken: list[Place]) -> None:
    """A name beside its point, on the side where it lies over the fewest points and names, and within the sheet."""
    width = LETTER * len(text)
    sides = [(align, x + across, y + down) for down in (0, -11, 11) for align, across in (("left", 8), ("right", -8))]
    sides += [("center", x, y - 13), ("center", x, y + 13)]

    def place(side: tuple[str, float, float]) -> Place:
        align, at, level = side
        start = at - {"left": 0.0, "right": width, "center": width / 2}[align]
        return start, level - 7, start + width, level + 7

    def crowded(side: tuple[str, float, float]) -> int:
        left, _, right, _ = place(side)
        return sum(_overlap(place(side), other) for other in taken) + 99 * (left < 0 or right > sheet.width)

    best = min(sides, key=crowded)
    taken.append(place(best))
    sheet.text(best[1], best[2], text, size=SMALL, colour=sheet.paper.ink, align=best[0])


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
