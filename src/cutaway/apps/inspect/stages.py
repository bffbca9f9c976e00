"""The stages of the page, in the order of the way. In: a `Way`, the tokens shown, the page's figures. Out: markup.

Rows are tokens in every figure: a label stands at the left, and a dimension under itself from one figure to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ...lens.output import Candidate
from ...lens.stream import Reading
from ...lens.way import Way
from . import wording
from .attention_stage import attention
from .figures import Figures, Scale, spread
from .markup import bar, cell, figure, row, sentence, table, visible_text
from .tree import tree
from .wording import chance, number

MOST_COLUMNS: Final = 9
MOST_UNITS: Final = 20_000
Stage = Callable[[Way, range, Figures], str]


def tokens(way: Way, shown: range, figures: Figures) -> str:  # noqa: ARG001 (all stages are called alike)
    """Text -> tokens: the joins of each token as a tree, the id under it."""
    most = way.shape.vocab_size
    chunks = []
    for index in shown:
        token = way.tokens[index]
        css = "chunk on" if index == way.place.position else "chunk"
        spelled = " ".join(f"{byte:02x}" for byte in token.bytes)
        label = f'<div class="tok" title="{spelled}">{visible_text(token.text)}<small>{token.id}</small></div>'
        chunks.append(f'<div class="{css}">{tree(token, most)}{label}</div>')
    said = "A line goes down from every symbol. Where two lines meet they are joined; the lower, the later this join was learned."
    caption = said if any(token.joins for token in way.tokens) else "Here no symbols are joined."
    rail = (wording.cut(way), "The number under a token is its id: its row in the model's tables.")
    return stage(
        "tokens", "Tokens", rail, (), f'<div class="chunks">{"".join(chunks)}</div><p class="cap">{caption}</p>'
    )


def embedding(way: Way, shown: range, figures: Figures) -> str:
    """ids -> rows of the token table, and their nearest words."""
    site = "embedding.token"
    limit = spread(way.trace[site][0])
    lines = []
    for index in shown:
        strip = _strip(way, figures, site, index, "learned", limit)
        near = way.inputs[index].neighbours[:3]
        words = " ".join(f"<span>{visible_text(word.text)} {number(word.cosine)}</span>" for word in near)
        lines.append(_line(way, index, strip, f'<span class="near">{words}</span>'))
    rail = (
        f"A token id picks one row of a learned table: {way.shape.d_model} numbers, the same wherever the token stands.",
        "Beside each row are the words whose rows point most nearly the same way, with the cosine of the angle.",
    )
    head = _line_head(_dimensions(way), "nearest words, cosine")
    return stage("embedding", "Embedding", rail, [_shape(way, site)], head + "".join(lines))


def position(way: Way, shown: range, figures: Figures) -> str:
    """What position adds, and how much of each input vector is word and how much is position."""
    lines = []
    if way.shape.adds_positions:
        lines.append(_line_head(_dimensions(way), "word and position, shares"))
        lines += [_position(way, index, figures) for index in shown]
        lines.append('<p class="gap"></p>')
    lines += _sum(way, figures)
    sites = [_shape(way, f"embedding.{part}") for part in ("position", "sum")]
    return stage("position", "Position", (wording.shares(way),), sites, "".join(lines))


def layers(way: Way, shown: range, figures: Figures) -> str:
    """Every head of every layer, and the one looked at in full."""
    said = (
        "Attention moves information between tokens; nothing else does. In each picture a row is a token that looks, a column "
        "one that it looks at. Stronger: more is taken.",
        "The words under a picture are measured on this text.",
        wording.head_choice(way),
    )
    size = f"[{way.shape.num_heads}, {len(way.tokens)}, {len(way.tokens)}]"
    return stage("layers", "Layers", said, [f"layers.*.attention.weights {size}"], attention(way, shown, figures))


def units(way: Way, shown: range, figures: Figures) -> str:
    """The feed-forward layer: units that fire, and the strongest of the token looked at."""
    found, place = way.units, way.place.position
    site = f"layers.{found.layer}.feedforward.active"
    if found.experts:
        rows = (
            row([cell(f"expert {expert.index}"), cell(bar(expert.chance)), cell(chance(expert.chance), "num")])
            for expert in found.experts
        )
        said = ("A router gives each expert a chance; the likeliest networks are used and mixed.",)
        return stage("feedforward", "Feed-forward", said, [], table(("", "chance", ">"), rows, "dist", "experts"))
    is_small = len(shown) * found.num_units <= MOST_UNITS
    limit = spread(way.trace[site][0])
    picture = [_line_head(f"{found.num_units:,} units of layer {found.layer}", "")]
    picture += [
        _line(way, i, _strip(way, figures, site, i, "computed", limit), "") for i in (shown if is_small else [place])
    ]
    rows = (
        row([
            cell(str(unit.index), "num"), figure(unit.before), figure(unit.active), figure(unit.strength),
            cell(_words(unit.toward)), cell(_words(unit.away)),
        ])
        for unit in found.units
    )  # fmt: skip
    heads = (">unit", ">before", ">active", ">writes", "toward", "away from")
    ledger = table(heads, rows, "ledger wide", f"the strongest units for {way.tokens[place].text}")
    rail = (
        f"{found.num_firing:,} of {found.num_units:,} units are above 0 for {way.tokens[place].text} before the activation.",
        "A unit writes its own learned direction, as strongly as it is active. “writes” is the length of what it adds; the words "
        "are those whose logits it raises and lowers most.",
    )
    return stage(
        "feedforward", "Feed-forward", rail, [_shape(way, site)], f'{"".join(picture)}<p class="gap"></p>{ledger}'
    )


def stream(way: Way, shown: range, figures: Figures) -> str:  # noqa: ARG001 (all stages are called alike)
    """The logit lens of every token shown, and the lengths of the stream of the one looked at."""
    said = (
        "Each token carries one vector through all layers; every part reads it and adds to it.",
        "What would the model say if it had to answer there? A cell is the likeliest next token at the end of a layer "
        "(logit lens). Stronger: more certain.",
    )
    name = way.tokens[way.place.position].text
    longest = max(reading.norm for reading in way.stream)
    rows = (_reading(reading, longest) for reading in way.stream)
    heads = (f"{name} after", ">length", "", ">added", "would say")
    body = f'<div class="scroll">{_lens(way, shown)}</div><p class="gap"></p>'
    body += table(heads, rows, "ledger lengths", f"the stream of {name}")
    return stage("stream", "Stream", said, ["layers.*.residual.start | middle | end"], body)


def output(way: Way, shown: range, figures: Figures) -> str:  # noqa: ARG001 (all stages are called alike)
    """The top of the distribution with its arithmetic, and the chosen token."""
    found = way.output
    is_warm = found.temperature != 1
    heads = ["", ">logit", *([f">÷ {found.temperature:g}"] * is_warm), ">exp(z − m)", "share", ">"]
    longest = wording.longest_share(found)
    rows = [_candidate(way, candidate, is_warm, longest) for candidate in found.candidates]
    blanks = [cell("", "num")] * (2 + is_warm)
    rest = [cell(f"{found.num_others:,} others"), *blanks, cell(bar(found.others_share / longest), "barred")]
    rows.append(row([*rest, cell(chance(found.others_share), "num")], "others"))
    how = visible_text(f"id {found.choice.id}. {wording.chosen(found)}")
    picked = f'<p class="picked"><b>{visible_text(found.choice.text)}</b> <span>{how}</span></p>'
    said = (
        f"The last vector is compared with {found.vocab_size:,} rows, one for each token: the logits. Softmax makes them "
        "chances.",
        wording.arithmetic(found),
        wording.actual(way),
    )
    body = table(heads, rows, "ledger dist", "the likeliest next tokens") + picked
    return stage("output", "Output", said, [_shape(way, "output.logits")], body)


STAGES: Final[Sequence[Stage]] = (tokens, embedding, position, layers, units, stream, output)


def stage(anchor: str, title: str, said: Iterable[str], sites: Sequence[str], body: str) -> str:
    """A stage: words in the rail, the figure beside them."""
    names = "".join(f'<p class="mono">{site}</p>' for site in sites)
    rail = f'<div class="rail"><h2>{title}</h2>{"".join(map(sentence, said))}{names}</div>'
    return f'<section class="stage" id="{anchor}">{rail}<div class="fig">{body}</div></section>'


def _strip(way: Way, figures: Figures, site: str, index: int, scale: Scale, limit: float) -> str:
    values = way.trace[site][0, index]
    name = f"{site} of {way.tokens[index].text}: {len(values)} numbers"
    order = _sines_first(way) if site.startswith("embedding.") else None
    return figures.canvas(values, scale, site=site, at=[0], rows=index, name=name, limit=limit, order=order)


def _sines_first(way: Way) -> list[int] | None:
    """The order of dimensions under a sinusoidal table, whose sines and cosines alternate and would alias into stripes."""
    d_model = way.shape.d_model
    return [*range(0, d_model, 2), *range(1, d_model, 2)] if way.shape.position_kind == "sinusoidal" else None


def _dimensions(way: Way) -> str:
    waves = ", those with sines first, then those with cosines" if _sines_first(way) else ""
    return f"{way.shape.d_model} dimensions{waves}"


def _line(way: Way, index: int, strip: str, side: str) -> str:
    css = "line on" if index == way.place.position else "line"
    label = f'<span class="label">{visible_text(way.tokens[index].text)}</span>'
    return f'<div class="{css}">{label}{strip}<span class="side">{side}</span></div>'


def _line_head(strip: str, side: str) -> str:
    return f'<div class="line cap"><span></span><span>{strip}</span><span class="side">{side}</span></div>'


def _position(way: Way, index: int, figures: Figures) -> str:
    """The position row of one token, and the shares of its input as one bar in two parts."""
    site, found = "embedding.position", way.inputs[index]
    widths = (100 * found.word_share, 100 * found.position_share)
    both = f'<span class="two"><i style="width:{widths[0]:.2f}%"></i><b style="width:{widths[1]:.2f}%"></b></span>'
    said = f"<span>{chance(found.word_share)}, {chance(found.position_share)}</span>"
    return _line(way, index, _strip(way, figures, site, index, "learned", spread(way.trace[site][0])), both + said)


def _sum(way: Way, figures: Figures) -> list[str]:
    """word + position = input for the token looked at, on one scale."""
    place = way.place.position
    found = way.inputs[place]
    parts: tuple[tuple[str, str, float, Scale], ...] = (
        ("token", "word", found.word_norm, "learned"),
        ("position", "+ position", found.position_norm, "learned"),
        ("sum", "= input", found.sum_norm, "computed"),
    )
    limit = max(spread(way.trace[f"embedding.{part}"][0]) for part, *_ in parts)
    lines = [_line_head(f"{visible_text(way.tokens[place].text)}, one scale for all three", "length")]
    for part, label, norm, scale in parts:
        strip = _strip(way, figures, f"embedding.{part}", place, scale, limit)
        side = f'<span class="side">{number(norm)}</span>'
        lines.append(f'<div class="line"><span class="label">{label}</span>{strip}{side}</div>')
    return lines


def _lens(way: Way, shown: range) -> str:
    """The logit lens: rows are tokens, columns the start and the ends of layers, at most nine of them."""
    lens, place = way.lens, way.place.position
    step = max(1, -(-(len(lens.sites) - 1) // (MOST_COLUMNS - 1)))
    columns = sorted({*range(0, len(lens.sites), step), len(lens.sites) - 1})
    rows = []
    for index in range(max(shown.start, lens.first), shown.stop):
        cells = [f'<th scope="row">{visible_text(way.tokens[index].text)}</th>']
        for column in columns:
            guess = lens.rows[index - lens.first][column]
            css = f"s{round(20 * guess.probability)}" + (" here" if index == place and column == columns[-1] else "")
            cells.append(f'<td class="{css}" title="{chance(guess.probability)}">{visible_text(guess.text)}</td>')
        rows.append(row(cells, "on" if index == place else ""))
    heads = ["", *("start" if column == 0 else f"layer {column - 1}" for column in columns)]
    return table(heads, rows, "lens", "the likeliest next token at each depth")


def _reading(reading: Reading, longest: float) -> str:
    """One depth of the stream of the token looked at."""
    said = " ".join(
        f"<span>{visible_text(guess.text)} <small>{chance(guess.probability)}</small></span>"
        for guess in reading.guesses
    )
    added = cell("" if reading.added is None else number(reading.added), "num")
    length = [figure(reading.norm), cell(bar(reading.norm / longest), "barred")]
    return row([cell(wording.after(reading)), *length, added, cell(said, "near")])


def _words(texts: Iterable[str]) -> str:
    return " ".join(f"<span>{visible_text(text)}</span>" for text in texts)


def _candidate(way: Way, candidate: Candidate, is_warm: bool, longest: float) -> str:
    css = "cut" if not candidate.is_kept else "on" if candidate.id == way.output.choice.id else ""
    scaled = [figure(candidate.scaled)] if is_warm else []
    share = chance(candidate.share) if candidate.is_kept else "cut"
    cells = [cell(visible_text(candidate.text)), figure(candidate.logit), *scaled, figure(candidate.exponential, 4)]
    return row([*cells, cell(bar(candidate.share / longest), "barred"), cell(share, "num")], css)


def _shape(way: Way, site: str) -> str:
    return f"{site} [{', '.join(map(str, way.trace[site].shape[1:]))}]"
