"""Drawing in characters. In: numbers, words and a rich console. Out: bars, shades, tables and paragraphs.

Blue was learned, green was computed from the text, orange is the place looked at and nothing else. The three tones have a
contrast of 4.5 : 1 on black and on white, and shading says by ink what a page says by colour, so a picture is the same
without any colour.
"""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LEARNED: Final = "#4f6fd5"
COMPUTED: Final = "#28855f"
LOOK: Final = "#c5521c"
QUIET: Final = "#767676"
NARROW: Final = 72
BROAD: Final = 100
SHADES: Final = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.05, "░"), (0.0, " "))
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def stage(console: Console, title: str, *sentences: str) -> None:
    """A title, what is said below it, and an empty line."""
    console.print(Text(title, "bold"))
    for sentence in sentences:
        say(console, sentence)
    console.print()


def say(console: Console, sentence: str, style: str = "") -> None:
    """A paragraph, or nothing for an empty one."""
    if sentence:
        console.print(Padding(Text(sentence, style), (0, 0, 0, 2), expand=False))


def make_table(*heads: str) -> Table:
    """heads: a column's alignment, < or >, then its name."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for head in heads:
        is_right = head.startswith(">")
        table.add_column(Text(head[1:]), justify="right" if is_right else "left", no_wrap=is_right, overflow="fold")
    return table


def put(console: Console, table: Table) -> None:
    """Print a table, indented as paragraphs are."""
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def fit(text: str, width: int) -> str:
    """Exactly `width` cells: padded, or cut with an ellipsis."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def shade(share: float, width: int = 2) -> str:
    """A share from 0 to 1 as ink, `width` cells wide."""
    return next((block for least, block in SHADES if share >= least), " ") * width


def bar(share: float, width: int, style: str = COMPUTED) -> Text:
    """A bar of up to `width` cells, exact to an eighth of one; anything above 0 is seen."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(min(eighths, width * 8), 8)
    return Text("█" * full + (EIGHTHS[rest] if rest else ""), style)
