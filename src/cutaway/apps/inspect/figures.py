"""The pictures of a page. In: tensors of a trace. Out: canvases, and the numbers that the page's script draws on them.

A picture is a matrix of real values: rows are tokens, colours are a scale of `colour`. Signed strips run to ±2.6 standard
deviations of their site; shares always from 0 to 1. Values keep five figures, which is more than the reading shows.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor

Scale = Literal["learned", "computed", "share"]
DEVIATIONS: Final = 2.6


@dataclass
class Figures:
    """The numbers of a page's pictures, in the order in which they were added."""

    data: list[dict[str, Any]] = field(default_factory=list)

    def canvas(
        self,
        values: Tensor,
        scale: Scale,
        *,
        site: str,
        at: Sequence[int] = (),
        rows: int | Sequence[int] | None = 0,
        name: str,
        limit: float | None = None,
        css: str = "strip",
        hidden: Tensor | None = None,
        order: Sequence[int] | None = None,
    ) -> str:
        """Add a picture; the element that shows it.

        values: [row, column] or [column]. site, at: where they stand in the trace: site[at…, row, column]. rows: the index of
        the first row, or of every row, or None where the site has no row axis left. limit: of a signed scale, by default of
        these values. hidden: [row, column], what a mask hides. order: the columns in the order in which
        they are drawn, None as they are. name: what the picture shows, spoken.
        """
        matrix = values.reshape(1, -1) if values.ndim == 1 else values
        matrix = matrix if order is None else matrix[:, list(order)]
        first = list(range(rows, rows + len(matrix))) if isinstance(rows, int) else rows
        self.data.append(
            {
                "site": site,
                "at": list(at),
                "rows": None if first is None else list(first),
                "columns": matrix.shape[1],
                "values": [_five(value) for value in matrix.double().flatten().tolist()],
                "hidden": [] if hidden is None else hidden.flatten().nonzero()[:, 0].tolist(),
                "scale": scale,
                "limit": 1.0 if scale == "share" else _five(limit or spread(matrix)),
                "order": None if order is None else list(order),
            }
        )
        number = len(self.data) - 1
        return f'<canvas class="{css}" data-figure="{number}" tabindex="0" role="img" aria-label="{html.escape(name)}"></canvas>'


def spread(values: Tensor) -> float:
    """The end of a signed scale: 2.6 standard deviations around zero; 1 where all values are zero."""
    deviation = float(values.double().square().mean().sqrt())
    return DEVIATIONS * deviation if deviation else 1.0


def hidden_of(scores: Tensor) -> Tensor:
    """Which of the scores are hidden by the mask: the same shape, of bool."""
    return scores == torch.finfo(scores.dtype).min


def _five(value: float) -> float:
    return float(f"{value:.5g}")
