"""The way as one page. In: a `Way` and the model's name. Out: one HTML file, without any request, for light and dark.

Words, tables and bars are markup and are there without a script; pictures are drawn by `page/draw.js` from the numbers that
the file carries as JSON. A policy in the file forbids every request, so that a hostile prompt could not make one either.
"""

from __future__ import annotations

import html
from importlib.resources import files

from ...lens.way import Way, window
from . import colour, stages, wording
from .figures import Figures
from .markup import as_script, sentence, visible_text

MOST_TOKENS = 40
MOST_WEIGHTS = 200_000
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
MARK = (
    '<svg width="19" height="16" aria-hidden="true"><path d="M12.5 .75H.75v14.5H12.5M17.25 .75v14.5" '
    'fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
)


def page(way: Way, name: str) -> str:
    """The whole file. name: of the model."""
    figures, shown = Figures(), _shown(way)
    body = "".join(stage(way, shown, figures) for stage in stages.STAGES)
    data = as_script({"figures": figures.data, "palettes": colour.palettes(), "tokens": [t.text for t in way.tokens]})
    title = html.escape(f"Cutaway: {way.text[:60]}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>\n{_asset("style.css")}{_cells()}</style>\n</head>\n'
        f"<body>\n{_header(way, name)}\n<main>\n{_opening(way, shown)}{body}</main>\n{_footer(name)}\n"
        f'<div id="reading" hidden></div>\n<script type="application/json" id="data">{data}</script>\n'
        f"<script>\n{_asset('draw.js')}</script>\n</body>\n</html>\n"
    )


def _shown(way: Way) -> range:
    """The tokens in the figures: at most 40, and fewer where the pictures of all heads would grow too large."""
    fitting = int((MOST_WEIGHTS / len(way.heads)) ** 0.5)
    return window(len(way.tokens), way.place.position, max(1, min(MOST_TOKENS, fitting)))


def _header(way: Way, name: str) -> str:
    label = html.escape(f"{name}, {wording.size(way)}")
    return f'<header><a class="mark" href="#way">{MARK}Cutaway</a><span class="meta">{label}</span></header>'


def _opening(way: Way, shown: range) -> str:
    place = way.place
    tokens = "".join(
        f'<span class="{"on" if index == place.position else ""}">{visible_text(way.tokens[index].text)}</span>'
        for index in shown
    )
    follows = way.output.choice if place.position == len(way.tokens) - 1 else None
    after = f'<span class="next">{visible_text(follows.text)}</span>' if follows else ""
    said = wording.count(len(way.tokens), "token")
    if len(shown) < len(way.tokens):
        said += f", of which {shown.start} to {shown.stop - 1} are shown; all were read"
    looked_at = f"Looking at {visible_text(way.tokens[place.position].text)}, layer {place.layer}, head {place.head}."
    return (
        '<section class="prompt" id="way"><h1 class="unseen">The way of a text through the model</h1>'
        f'<div class="text">{tokens}{after}</div><div class="under"><p>{said}. {looked_at}</p>{_legend()}</div>'
        "<noscript><p>The pictures are drawn by the script in this file, which is switched off here. Numbers and tables are "
        "complete without it.</p></noscript></section>"
    )


def _legend() -> str:
    return (
        '<p class="legend"><span>−<i class="ramp learned"></i>+ learned</span>'
        '<span>−<i class="ramp computed"></i>+ computed from your text</span>'
        '<span><i class="look"></i>what you are looking at</span></p>'
    )


def _footer(name: str) -> str:
    said = (
        f"Every number here is of one pass of {name}, or follows from it as the figure says. The same numbers for programs: "
        "cutaway inspect MODEL PROMPT --json. Another place: --position, --layer, --head."
    )
    return f"<footer>{sentence(said)}</footer>"


def _cells() -> str:
    """Classes s0 … s20 for cells that are coloured by a share, and the ramps of the legend, for both themes."""
    return "".join(
        _theme(colour.SCALES[theme], rule)
        for theme, rule in (("light", "{}"), ("dark", "@media (prefers-color-scheme: dark){{{}}}"))
    )


def _theme(scales: dict[str, tuple[str, str, str]], rule: str) -> str:
    shades = [colour.mixed(scales["share"], step / 10) for step in range(21)]
    rules = [f".s{step}{{background:{shade};color:{colour.readable_on(shade)}}}" for step, shade in enumerate(shades)]
    rules += [
        f".ramp.{name}{{background:linear-gradient(90deg,{','.join(scales[name])})}}"
        for name in ("learned", "computed")
    ]
    return rule.format("".join(rules)) + "\n"


def _asset(name: str) -> str:
    return (files("cutaway.apps.inspect") / "page" / name).read_text("utf-8")
