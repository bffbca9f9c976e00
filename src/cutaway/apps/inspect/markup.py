"""Text -> HTML. In: any text, the most hostile too. Out: markup in which it is only text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .wording import number


def visible_text(text: str) -> str:
    """A token's visible form, its spaces drawn as small open boxes."""
    return html.escape(text).replace("␣", '<i class="sp" role="img" aria-label="space"></i>')


def sentence(text: str) -> str:
    """A paragraph of plain words and tokens, or nothing for none. The names of options and tokens stay in one piece."""
    words = re.sub(r"--[a-z]+|<i [^>]*></i>\w+", r'<span class="whole">\g<0></span>', visible_text(text))
    return f"<p>{words}</p>" if text else ""


def as_script(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def bar(share: float) -> str:
    """A bar of a share of its column's width."""
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0.0), 1.0):.2f}%"></i></span>'


def row(cells: Iterable[str], css: str = "") -> str:
    """A row of a table. cells: markup; those of a number stand right."""
    return f'<tr class="{css}">' + "".join(cells) + "</tr>"


def cell(markup: str, css: str = "") -> str:
    """One cell."""
    return f'<td class="{css}">{markup}</td>' if css else f"<td>{markup}</td>"


def figure(value: float, digits: int = 2) -> str:
    """The cell of a number."""
    return cell(number(value, digits), "num")


def table(heads: Sequence[str], rows: Iterable[str], css: str, caption: str) -> str:
    """A real table. heads: names of columns, `>` first for those of numbers. caption: spoken, not seen."""
    columns = "".join(
        f'<th class="num" scope="col">{visible_text(head[1:])}</th>'
        if head.startswith(">")
        else f'<th scope="col">{visible_text(head)}</th>'
        for head in heads
    )
    said = f'<caption class="unseen">{html.escape(caption)}</caption>'
    return f'<table class="{css}">{said}<thead><tr>{columns}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
