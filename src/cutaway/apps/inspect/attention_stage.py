"""Attention on the page. In: a `Way`, the tokens shown, the page's figures. Out: the wall of all heads, and one head in full.

The wall has layers down and heads across. The head looked at opens under its layer: its matrix at the left; at the right how
the query meets one key, and the ledger of everything that the token takes: q · k, score, weight, value.
"""

from __future__ import annotations

from ...lens.heads import HeadSummary, Source
from ...lens.way import Way
from . import wording
from .figures import Figures, hidden_of, spread
from .markup import bar, cell, figure, row, table, visible_text
from .wording import number

MOST_NUMBERS = 12
MOST_LABELS = 16


def attention(way: Way, shown: range, figures: Figures) -> str:
    """The wall, with the head in full under its layer."""
    parts = []
    for layer in range(way.shape.num_layers):
        heads = [summary for summary in way.heads if summary.layer == layer]
        pictures = "".join(_picture(way, summary, shown, figures) for summary in heads)
        num_heads = way.shape.num_heads
        columns = f"--heads:{min(num_heads, 8)};--narrow:{3 if num_heads % 3 == 0 else min(num_heads, 4)}"
        parts.append(f'<div class="layer" style="{columns}"><span class="name">layer {layer}</span>{pictures}</div>')
        if layer == way.place.layer:
            parts.append(_opened(way, shown, figures))
    return "".join(parts)


def _picture(way: Way, summary: HeadSummary, shown: range, figures: Figures) -> str:
    site = f"layers.{summary.layer}.attention.weights"
    inside = slice(shown.start, shown.stop)
    values = way.trace[site][0, summary.head, inside, inside]
    finding = wording.finding(way, summary)
    canvas = figures.canvas(
        values,
        "share",
        site=site,
        at=[0, summary.head],
        rows=shown.start,
        name=f"Layer {summary.layer}, head {summary.head}: {finding}",
        css="square",
    )
    is_on = (summary.layer, summary.head) == (way.place.layer, way.place.head)
    label = f"<figcaption>head {summary.head}<br><span>{visible_text(finding)}</span></figcaption>"
    return f'<figure class="{"head on" if is_on else "head"}">{canvas}{label}</figure>'


def _opened(way: Way, shown: range, figures: Figures) -> str:
    place = way.place
    summary = next(each for each in way.heads if (each.layer, each.head) == (place.layer, place.head))
    looks = visible_text(wording.looks(way, summary))
    title = f"<h3><b>Layer {place.layer}, head {place.head}</b> {looks}</h3>"
    left = f"<div>{title}{_matrix(way, shown, figures)}</div>"
    return f'<div class="one">{left}<div>{_product(way, summary.source, figures)}{_ledger(way, shown, figures)}</div></div>'


def _matrix(way: Way, shown: range, figures: Figures) -> str:
    head, position = way.head, way.place.position
    site, inside = f"layers.{head.layer}.attention", slice(shown.start, shown.stop)
    canvas = figures.canvas(
        way.trace[f"{site}.weights"][0, head.head, inside, inside],
        "share",
        site=f"{site}.weights",
        at=[0, head.head],
        rows=shown.start,
        name=f"Weights of layer {head.layer}, head {head.head}, rows look at columns",
        css="square",
        hidden=hidden_of(way.trace[f"{site}.scores"][0, head.head, inside, inside]),
    )
    step = -(-len(shown) // MOST_LABELS)
    part = 100 / len(shown)
    labels = "".join(
        _label(way, index, index - shown.start, part) for index in shown if (shown.stop - 1 - index) % step == 0
    )
    top = (position - shown.start) * part
    frame = f'<div class="frame" style="top:{top:.3f}%;height:{part:.3f}%">{_numbers(way, shown)}</div>'
    return f'<div class="matrix">{labels}<div class="field">{canvas}{frame}</div></div>'


def _label(way: Way, index: int, offset: int, part: float) -> str:
    """The label of a token at its row and at its column."""
    text, css = visible_text(way.tokens[index].text), " on" if index == way.place.position else ""
    middle = (offset + 0.5) * part
    return (
        f'<span class="rl{css}" style="--at:{middle:.3f}">{text}</span>'
        f'<span class="cl{css}" style="--at:{middle:.3f}" aria-hidden="true">{text}</span>'
    )


def _numbers(way: Way, shown: range) -> str:
    """The weights of the row looked at, written into it where there is room."""
    if len(shown) > MOST_NUMBERS:
        return ""
    sources = [way.head.sources[index] for index in shown]
    return "".join(
        "<span></span>"
        if source.score is None
        else f'<span class="s{round(20 * source.weight)}">{_short(source.weight)}</span>'
        for source in sources
    )


def _short(weight: float) -> str:
    """0.79 as .79, to fit a cell."""
    text = f"{weight:.2f}"
    return text.removeprefix("0")


def _product(way: Way, source: int, figures: Figures) -> str:
    """How the query meets the key that it takes most from."""
    head, position = way.head, way.place.position
    site = f"layers.{head.layer}.attention"
    query = way.trace[f"{site}.query"][0, head.head, position]
    key = way.trace[f"{site}.key"][0, head.kv_head, source]
    limit = max(spread(query), spread(key))
    product = figures.canvas(
        query * key, "computed", site="query × key", rows=None, name="product of the two", css="strip bars"
    )
    strips = (
        _vector(way, figures, "query", head.head, position, limit),
        _vector(way, figures, "key", head.kv_head, source, limit),
        product,
    )
    lines = "".join(
        f'<div class="meet"><span>{name}</span>{strip}<span class="num">{value}</span></div>'
        for name, strip, value in zip(
            ("query", "key", "product"), strips, ("", "", f"= {number(head.sources[source].product)}"), strict=True
        )
    )
    looks, looked_at = (visible_text(way.tokens[index].text) for index in (position, source))
    asked = f"How well does the query of <em>{looks}</em> fit the key of <b>{looked_at}</b>?"
    return f'<p class="asked">{asked} Multiply, dimension by dimension, and add up.</p>{lines}'


def _ledger(way: Way, shown: range, figures: Figures) -> str:
    head = way.head
    site, strongest = f"layers.{head.layer}.attention", head.strongest[way.place.position]
    limits = spread(way.trace[f"{site}.key"][0, head.kv_head]), spread(way.trace[f"{site}.value"][0, head.kv_head])
    rows = [_source(way, head.sources[index], figures, limits, is_on=index == strongest) for index in shown]
    if shown.start:
        rest = sum(source.weight for source in head.sources[: shown.start])
        cells = [cell(f"{shown.start:,} before"), *([cell("")] * 3), cell(bar(rest), "barred"), figure(rest), cell("")]
        rows.insert(0, row(cells, "others"))
    heads = ("from", "key", ">q · k", f">{wording.score_column(head)}", "softmax", ">", "value, as thick as its weight")
    steps = wording.score_steps(head)
    name = way.tokens[way.place.position].text
    written = "The weighted values are added, pass the output weights of the layer, and join the stream of"
    said, caption = visible_text(f"{steps} {written} {name}.".strip()), f"what {name} takes from each token"
    return f'{table(heads, rows, "ledger sources", caption)}<p class="cap">{said}</p>'


def _source(way: Way, source: Source, figures: Figures, limits: tuple[float, float], *, is_on: bool) -> str:
    head, index = way.head, source.index
    text, strip = visible_text(way.tokens[index].text), _vector(way, figures, "key", head.kv_head, index, limits[0])
    if source.score is None:
        cells = [cell(text), cell(strip), figure(source.product), cell("−∞", "num"), cell("hidden"), cell(""), cell("")]
        return row(cells, "hidden")
    thick = _vector(way, figures, "value", head.kv_head, index, limits[1])
    numbers = [figure(source.product), figure(source.score)]
    share = [cell(bar(source.weight), "barred"), figure(source.weight)]
    height = f'<div style="--thick:{max(1.0, 16 * source.weight):.1f}px">{thick}</div>'
    return row([cell(text), cell(strip), *numbers, *share, cell(height, "thick")], "on" if is_on else "")


def _vector(way: Way, figures: Figures, part: str, head: int, index: int, limit: float) -> str:
    """The query, key or value of one token in the layer looked at. head: its number at that site."""
    site = f"layers.{way.place.layer}.attention.{part}"
    values = way.trace[site][0, head, index]
    name = f"{part} of {way.tokens[index].text}"
    return figures.canvas(values, "computed", site=site, at=[0, head], rows=index, name=name, limit=limit)
