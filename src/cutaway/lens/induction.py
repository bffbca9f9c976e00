"""Induction heads. In: a model. Out: for each head, how much it looks at what followed this token before.

Tokens drawn at random are read twice, so that nothing but the repeat can tell what comes next (Olsson et al. 2022, "in-context
learning and induction heads"): A B C … A B C …. At the second A an induction head looks at the token behind the first A, and so
can say B. With n tokens in a half, the scores of a head are its mean weights

    prefix matching: from q to q − n + 1      duplicate: from q to q − n      previous: from q to q − 1

over the queries q of the second half (previous: over all). A head whose prefix matching is near 1 does what the name says, on
random tokens; what it does in other texts is not measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Call, Transformer
from ..runtime.attend import fused
from .attending import seen_by
from .charts import WIDEST, Grid, ramp
from .colour import Theme
from .edits import Edits, make_edits
from .numerals import count, number, small
from .passes import CELLS, Progress, losses_of
from .result import Result
from .sheet import MARGIN, SMALL, Sheet
from .sites import sites

Scores = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Induction(Result):
    """The scores of all heads, [layer][head], and how well the model tells the repeat.

    length: n, the tokens of a half; num_sequences, seed: what was drawn; off: heads that were switched off, (layer, head).
    losses: nats for each token from the second of the text to its last; loss_first, loss_second: the means of both halves, each
    without its first token, which nothing announces.
    """

    length: int
    num_sequences: int
    seed: int
    off: tuple[tuple[int, int], ...]
    prefix: Scores
    previous: Scores
    duplicate: Scores
    losses: tuple[float, ...]
    loss_first: float
    loss_second: float

    def strongest(self, scores: Scores) -> tuple[int, int]:
        """The (layer, head) with the largest score."""
        return max(
            ((layer, head) for layer, row in enumerate(scores) for head in range(len(row))),
            key=lambda place: scores[place[0]][place[1]],
        )

    def draw(self, theme: Theme = "light") -> Sheet:
        """Three grids of heads, and the loss along the text."""
        return _drawn(self, theme)


@torch.inference_mode()
def induction(
    model: Transformer,
    *,
    length: int = 32,
    num_sequences: int = 8,
    seed: int = 0,
    allowed: Sequence[int] | None = None,
    beginning: Sequence[int] = (),
    off: Sequence[tuple[int, int]] = (),
    progress: Progress | None = None,
) -> Induction:
    """The repeat test. allowed: the ids to draw from, all if None; beginning: ids that every text begins with (bos, say).

    off: heads to switch off meanwhile. Raises CutawayError for models that do not predict a next token from what came before, for
    halves that do not fit, and for heads that do not exist.
    """
    stack = model.main.config
    _check(model, length, num_sequences, allowed, len(beginning))
    texts = _texts(model, length, num_sequences, seed, allowed, beginning)
    stripes = _Stripes(stack.num_layers, length, len(beginning))
    watch = _switched(model, texts, off, stripes)
    losses, done = [], 0
    for rows in texts.split(max(1, CELLS // texts.shape[1])):
        call = Call(seen_by(model, rows.shape[1]).to(rows.device), attend=fused, watch=watch)
        losses.append(losses_of(model, model.states(rows, call), rows))
        done += len(rows)
        if progress is not None:
            progress(done, num_sequences)
    mean = torch.cat(losses).mean(0)[max(0, len(beginning) - 1) :]
    halves = mean[-length - (length - 1) : -length], mean[-(length - 1) :]
    return Induction(
        length=length,
        num_sequences=num_sequences,
        seed=seed,
        off=tuple((layer, head) for layer, head in off),
        **stripes.means(num_sequences),
        losses=tuple(mean.tolist()),
        loss_first=float(halves[0].mean()),
        loss_second=float(halves[1].mean()),
    )


def _switched(model: Transformer, texts: Tensor, off: Sequence[tuple[int, int]], then: _Stripes) -> Edits:
    """The heads switched off, before `then` looks."""
    edits = [{"site": f"layers.{layer}.attention.mixed", "op": "zero", "heads": [head]} for layer, head in off]
    return make_edits(edits, sites(model.config, *texts.shape), num_tokens=texts.shape[1], then=then)


class _Stripes:
    """A watcher that keeps the sums of three diagonals of each head's weights, and no matrix."""

    def __init__(self, num_layers: int, length: int, skipped: int) -> None:
        self.layers = {f"layers.{layer}.attention.weights": layer for layer in range(num_layers)}
        self.length, self.skipped = length, skipped
        self.sums: dict[str, dict[int, Tensor]] = {"prefix": {}, "previous": {}, "duplicate": {}}

    def wants(self, site: str) -> bool:
        return site in self.layers

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        if site in self.layers:
            layer, back = self.layers[site], self.length
            for name, offset in (("prefix", back - 1), ("previous", 1), ("duplicate", back)):
                diagonal = tensor.diagonal(-offset, dim1=-2, dim2=-1).double()  # [batch, head, query − offset]
                kept = diagonal[..., -back:] if name != "previous" else diagonal[..., self.skipped :]
                found = kept.mean(-1).sum(0).cpu()
                self.sums[name][layer] = self.sums[name].get(layer, torch.zeros_like(found)) + found
        return tensor

    def means(self, count: int) -> dict[str, Scores]:
        return {
            name: tuple(tuple((each / count).tolist()) for _, each in sorted(sums.items()))
            for name, sums in self.sums.items()
        }


def _texts(
    model: Transformer, length: int, count: int, seed: int, allowed: Sequence[int] | None, beginning: Sequence[int]
) -> Tensor:
    """[batch, position]: what every text begins with, then a half twice. A half has no token twice where there are enough."""
    pool = torch.tensor(range(model.config.vocab_size) if allowed is None else list(allowed), dtype=torch.long)
    generator = torch.Generator().manual_seed(seed)
    if len(pool) >= length:
        drawn = [pool[torch.randperm(len(pool), generator=generator)[:length]] for _ in range(count)]
    else:
        drawn = [pool[torch.randint(len(pool), (length,), generator=generator)] for _ in range(count)]
    halves = torch.stack(drawn)
    first = torch.tensor(list(beginning), dtype=torch.long).expand(count, -1)
    return torch.cat((first, halves, halves), dim=1).to(model.token.weight.device)


def _check(model: Transformer, length: int, num_sequences: int, allowed: Sequence[int] | None, skipped: int) -> None:
    config = model.config
    if config.has_cross or not config.says_next or model.head is None:
        raise CutawayError(
            "The repeat test asks which token comes next, from those before. This model does not answer that by itself: name a "
            "decoder-only model that predicts the next token."
        )
    longest = (config.context - skipped) // 2
    if not 2 <= length <= longest:
        raise CutawayError(
            f"length is {length}. A half has from 2 to {longest} tokens, so that two fit into the model."
        )
    if allowed is not None and not (allowed and all(0 <= i < config.vocab_size for i in allowed)):
        raise CutawayError(
            f"The tokens to draw from are {list(allowed)!r:.60}. Name one at least; ids run from 0 to {config.vocab_size - 1}."
        )
    if num_sequences < 1:
        raise CutawayError(f"num_sequences is {num_sequences}. Draw one at least.")


def _drawn(found: Induction, theme: Theme) -> Sheet:
    width = max(36, 8 + 6 * len(str(len(found.prefix[0]))))
    across = 3 * (52 + 12 + width * len(found.prefix[0])) + 2 * 32
    is_wide = across > WIDEST
    sheet = Sheet(2 * MARGIN + min(WIDEST, max(720, across)), theme)
    off = "".join(f" Layer {layer} head {head} is off." for layer, head in found.off)
    drawn = f"{count(found.num_sequences, 'text')} of {found.length} random tokens, each read twice."
    y, x = sheet.title("Who looks at what followed this token before", drawn + off), float(MARGIN)
    lowest = y
    for name, scores in (
        ("Prefix matching", found.prefix),
        ("Previous token", found.previous),
        ("Same token", found.duplicate),
    ):
        grid = Grid(
            values=scores,
            rows=[f"layer {layer}" for layer in range(len(scores))],
            columns=[str(head) for head in range(len(scores[0]))],
            scale="share",
            shown=lambda row, column, scores=scores: number(scores[row][column]),  # type: ignore[misc]
            box=(width, 22),
            label=52,
            head=name,
        )
        lowest = max(lowest, grid.draw(sheet, x, y))
        x, y = (x, lowest + 20) if is_wide else (x + grid.width + 32, y)
    y = _curve(sheet, found, lowest + 28) + 24
    ramp(sheet, MARGIN, y, "share", "0", "1: mean weight")
    sheet.caption(
        y + 16, "Only the repeat tells what comes next. What these heads do in other texts is not measured here."
    )
    return sheet


def _curve(sheet: Sheet, found: Induction, y: float) -> float:
    """The loss of each token; a line where the repeat begins."""
    high, left, room, faint = 120, MARGIN + 64, 560, sheet.paper.ink_3
    most = max(found.losses)
    step = room / max(1, len(found.losses) - 1)
    said = f"Loss of each token, nats: {number(found.loss_first)} in the first half, {small(found.loss_second)} in the repeat"
    sheet.text(left, y, said, size=SMALL)
    y += 20
    for value in (0.0, most / 2, most):
        level = y + high * (1 - value / most)
        sheet.line([left, left + room], [level, level])
        sheet.text(left - 12, level, number(value, 1), size=SMALL, colour=faint, align="right")
    places = [left + step * index for index in range(len(found.losses))]
    repeat = places[len(found.losses) - found.length]
    sheet.line([repeat, repeat], [y, y + high + 16], faint)
    sheet.text(repeat + 6, y + high + 10, "read again", size=SMALL, colour=faint)
    sheet.line(places, [y + high * (1 - loss / most) for loss in found.losses], sheet.shade("share", 0.8), width=1.5)
    return sheet.reach(y + high + 12)
