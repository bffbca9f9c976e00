"""The joins of a token as a tree. In: a token and its joins. Out: SVG; symbols above, the token below.

A line goes down from every symbol; two lines that were joined meet, the lower the later training learned the join (by the
logarithm of its rank). A join uses only symbols that were learned before it, so the tree never turns back up.
"""

from __future__ import annotations

import math

from ...lens.tokens import WayToken
from .markup import visible_text

HEIGHT = 132
TOP, BOTTOM = 8, 116
PITCH = 24


def tree(token: WayToken, most: int) -> str:
    """The tree of one token. most: the rank at the bottom of the picture; that of the last join, or more."""
    symbols = token.symbols or (token.text,)
    widths = [max(PITCH, 9 * len(symbol) + 8) for symbol in symbols]
    nodes = [(symbol, sum(widths[:i]) + widths[i] / 2, 0.0) for i, symbol in enumerate(symbols)]
    heads = "".join(f'<span style="width:{w}px">{visible_text(s)}</span>' for s, w in zip(symbols, widths, strict=True))
    lines = []
    for join in token.joins:
        at = next(i for i in range(len(nodes) - 1) if (nodes[i][0], nodes[i + 1][0]) == (join.left, join.right))
        (_, left, left_y), (_, right, right_y) = nodes[at : at + 2]
        y = TOP + (BOTTOM - TOP) * math.log1p(join.rank) / math.log1p(max(most, join.rank, 1))
        lines.append(f"M{left:.1f} {left_y:.1f}V{y:.1f}H{right:.1f}V{right_y:.1f}")
        nodes[at : at + 2] = [(join.result, (left + right) / 2, y)]
    lines += [f"M{x:.1f} {y:.1f}V{HEIGHT}" for _, x, y in nodes]
    path = f'<path d="{"".join(lines)}" fill="none" stroke="currentColor"/>'
    width = sum(widths)
    return f'<div class="chars">{heads}</div><svg width="{width}" height="{HEIGHT}" aria-hidden="true">{path}</svg>'
