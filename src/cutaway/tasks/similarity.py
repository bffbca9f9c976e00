"""Does closeness follow meaning? In: a model, and pairs of words or sentences that people rated. Out: a `Report`, Spearman's ρ.

A line is two texts and a number, parted by tabs: "tiger<tab>cat<tab>7.35", as WordSim-353 and MEN are published. The model's
number is the cosine of the two vectors (`embed`); ρ is the correlation of the ranks of both (Spearman 1904), ties at their mean,
times 100. Intervals are of resampled pairs with the ranks that they have among all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..data.sources import open_text, read_lines
from ..errors import CutawayError
from ..lm import LM
from .embed import Pooling, embed
from .metrics import SPEARMAN, Floats, Measured, ranks
from .report import Report, make_report

AT_ONCE = 256  # texts


class Rated(NamedTuple):
    """Two texts, and how alike people found them."""

    first: str
    second: str
    rating: float


def evaluate_similarity(
    lm: LM, path: Path, *, pooling: Pooling = "mean", progress: Callable[[int, int], None] | None = None
) -> Report:
    """How well the closeness of vectors follows the ratings of a file. pooling: see `embed`.

    progress: is told what is done and how much there is. Raises CutawayError as `read_ratings` and `embed`.
    """
    pairs, began = read_ratings(path), time.perf_counter()
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second)))
    vectors: dict[str, Tensor] = {}
    for start in range(0, len(texts), AT_ONCE):
        part = texts[start : start + AT_ONCE]
        vectors |= zip(part, embed(lm, part, pooling=pooling), strict=True)
        if progress is not None:
            progress(start + len(part), len(texts))
    cosines = [float(vectors[pair.first] @ vectors[pair.second]) for pair in pairs]
    return make_report(
        task="similarity",
        model=lm.name,
        data=path,
        examples=[
            (f"{pair.first} · {pair.second}", f"{cosine:.4f}", [f"{pair.rating:g}"])
            for pair, cosine in zip(pairs, cosines, strict=True)
        ],
        metric=Measured(f"of:cosines|pooling:{pooling}|ties:mean rank", {SPEARMAN.name: _statistics(cosines, pairs)}),
        seconds=time.perf_counter() - began,
    )


def read_ratings(path: Path) -> list[Rated]:
    """The pairs of a file. Raises CutawayError, with file and line, for what is no pair, and for fewer than two."""
    with open_text(path) as file:
        lines = enumerate(read_lines(path, file), start=1)
        found = [_rated(line, f"{path}:{number}") for number, line in lines if line.strip()]
    if len({pair.rating for pair in found}) < 2:
        raise CutawayError(f"{path} holds no two pairs with different ratings, so there is no order to compare.")
    return found


def _rated(line: str, place: str) -> Rated:
    columns = [column.strip() for column in line.split("\t")]
    try:
        first, second, rating = columns[0], columns[1], float(columns[2])
    except (IndexError, ValueError):
        rating, first, second = math.nan, "", ""
    if not first or not second or not math.isfinite(rating):
        raise CutawayError(
            f"{place} is '{line:.60}'. A line is two texts and a number, parted by tabs: tiger<tab>cat<tab>7.35"
        )
    return Rated(first, second, rating)


def _statistics(cosines: list[float], pairs: list[Rated]) -> Floats:
    """What each pair gives to the sums of a correlation: [pair, statistic]."""
    ours, theirs = ranks(np.array(cosines)), ranks(np.array([pair.rating for pair in pairs]))
    return np.stack([ours, theirs, ours * ours, theirs * theirs, ours * theirs], axis=1)
