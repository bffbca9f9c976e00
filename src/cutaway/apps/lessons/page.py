"""A lesson as a page. In: a `Lesson`. Out: one HTML file with what the terminal shows, in colour; it asks for nothing."""

from __future__ import annotations

import html
import io

from rich.console import Console

from ...lessons import Lesson
from ..inspect.characters import BROAD
from .terminal import show_lesson

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{{title}}</title>
<style>
body {{ margin: 48px auto; width: fit-content; max-width: calc(100% - 32px); overflow-x: auto; background: #fbfbf9; color:
#191b1d; }} pre {{ font: 13px/1.25 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #131416; color: #e9e9e5; }} }}
</style>
</head>
<body><pre>{code}</pre></body>
</html>
"""


def page(lesson: Lesson) -> str:
    """The page as text."""
    console = Console(
        record=True, width=BROAD, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        highlight=False, emoji=False, markup=False, legacy_windows=False,
    )  # fmt: skip
    show_lesson(lesson, console)
    made = console.export_html(code_format=FRAME, inline_styles=True)
    return made.replace("{title}", html.escape(lesson.title))
