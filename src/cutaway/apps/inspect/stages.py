"""The stages of the page, in the order of the way. In: a `Way`, the tokens shown, the page's figures. Out: markup.

Rows are tokens in every figure: a label stands at the left, and a dimension under itself from one figure to the next.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ...lens.output import Candidate
from ...lens.way import Way
from . import wording
from .attention_stage import attention
from .figures import Figures, Scale, spread
from .markup import bar, cell, figure, row, sentence, table, visible_text
from .tree import tree
from .wording import chance, number

MOST_COLUMNS: Final = 9
MOST_UNITS: Final = 20_000


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
    head = _line_head(f"{way.shape.d_model} dimensions", "nearest words, cosine")
    return stage("embedding", "Embedding", rail, [_shape(way, site)], head + "".join(lines))


def position(way: Way, shown: range, figures: Figures) -> str:
    """What position adds, and how much of each input vector is word and how much is position."""
    place = way.place.position
    names = ("embedding.token", "embedding.position", "embedding.sum")
    lines = []
    if way.shape.adds_positions:
        limit = spread(way.trace["embedding.position"][0])
        lines.append(_line_head(f"{way.shape.d_model} dimensions", "word and position, shares"))
        for index in shown:
            found = way.inputs[index]
            strip = _strip(way, figures, "embedding.position", index, "learned", limit)
            both = f'<span class="two"><i style="width:{100 * found.word_share:.2f}%"></i><b style="width:{100 * found.position_share:.2f}%"></b></span>'
            lines.append(
                _line(
                    way, index, strip, f"{both}<span>{chance(found.word_share)}, {chance(found.position_share)}</span>"
                )
            )
        lines.append('<p class="gap"></p>')
    found = way.inputs[place]
    limit = max(spread(way.trace[name][0]) for name in names)
    parts = (
        ("word", found.word_norm, "learned"),
        ("+ position", found.position_norm, "learned"),
        ("= input", found.sum_norm, "computed"),
    )
    lines.append(_line_head(f"{html.escape(way.tokens[place].text)}, one scale for all three", "length", label=""))
    for name, (label, norm, scale) in zip(names, parts, strict=True):
        strip = _strip(way, figures, name, place, "computed" if scale == "computed" else "learned", limit)
        lines.append(
            f'<div class="line"><span class="label">{label}</span>{strip}<span class="side">{number(norm)}</span></div>'
        )
    return stage(
        "position", "Position", (wording.shares(way),), [_shape(way, name) for name in names[1:]], "".join(lines)
    )


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
        "A unit writes its own learned direction, as strongly as it is active. “writes” is the length of what it adds; the words are those whose logits it raises and lowers most.",
    )
    return stage(
        "feedforward", "Feed-forward", rail, [_shape(way, site)], f'{"".join(picture)}<p class="gap"></p>{ledger}'
    )


def stream(way: Way, shown: range, figures: Figures) -> str:  # noqa: ARG001 (all stages are called alike)
    """The logit lens of every token shown, and the lengths of the stream of the one looked at."""
    place, lens = way.place.position, way.lens
    step = max(1, -(-(len(lens.sites) - 1) // (MOST_COLUMNS - 1)))
    columns = sorted({*range(0, len(lens.sites), step), len(lens.sites) - 1})
    heads = ["", *("start" if column == 0 else f"layer {column - 1}" for column in columns)]
    rows = []
    for index in range(max(shown.start, lens.first), shown.stop):
        guesses = lens.rows[index - lens.first]
        cells = [f'<th scope="row">{visible_text(way.tokens[index].text)}</th>']
        for column in columns:
            guess = guesses[column]
            css = f"s{round(20 * guess.probability)}" + (" here" if index == place and column == columns[-1] else "")
            cells.append(f'<td class="{css}" title="{chance(guess.probability)}">{visible_text(guess.text)}</td>')
        rows.append(row(cells, "on" if index == place else ""))
    longest = max(reading.norm for reading in way.stream)
    lengths = (
        row([
            cell(wording.after(reading)), figure(reading.norm), cell(bar(reading.norm / longest), "barred"),
            cell("" if reading.added is None else number(reading.added), "num"),
            cell(" ".join(f"<span>{visible_text(guess.text)} <small>{chance(guess.probability)}</small></span>" for guess in reading.guesses), "near"),
        ])
        for reading in way.stream
    )  # fmt: skip
    said = (
        "Each token carries one vector through all layers; every part reads it and adds to it.",
        "What would the model say if it had to answer there? A cell is the likeliest next token at the end of a layer (logit lens). Stronger: more certain.",
    )
    name = way.tokens[place].text
    body = f'<div class="scroll">{table(heads, rows, "lens", "the likeliest next token at each depth")}</div><p class="gap"></p>'
    body += table(
        (f"{name} after", ">length", "", ">added", "would say"), lengths, "ledger lengths", f"the stream of {name}"
    )
    return stage("stream", "Stream", said, ["layers.*.residual.start | middle | end"], body)


def output(way: Way, shown: range, figures: Figures) -> str:  # noqa: ARG001 (all stages are called alike)
    """The top of the distribution with its arithmetic, and the chosen token."""
    found = way.output
    is_warm = found.temperature != 1
    heads = ["", ">logit", *([f">÷ {found.temperature:g}"] * is_warm), ">exp(z − m)", "share", ">"]
    rows = [_candidate(way, candidate, is_warm) for candidate in found.candidates]
    rest = [
        cell(f"{found.num_others:,} others"),
        *([cell("")] * (2 + is_warm)),
        cell(bar(found.others_share), "barred"),
    ]
    rows.append(row([*rest, cell(chance(found.others_share), "num")], "others"))
    picked = f'<p class="picked"><b>{visible_text(found.choice.text)}</b> <span>id {found.choice.id}. {html.escape(wording.chosen(found))}</span></p>'
    said = (
        f"The last vector is compared with {found.vocab_size:,} rows, one for each token: the logits. Softmax makes them chances.",
        wording.arithmetic(found),
        wording.actual(way),
    )
    body = table(heads, rows, "ledger dist", "the likeliest next tokens") + picked
    return stage("output", "Output", said, [_shape(way, "output.logits")], body)


Stage = Callable[[Way, range, Figures], str]


def stage(anchor: str, title: str, said: Iterable[str], sites: Sequence[str], body: str) -> str:
    """A stage: words in the rail, the figure beside them."""
    names = "".join(f'<p class="mono">{html.escape(site)}</p>' for site in sites)
    rail = f'<div class="rail"><h2>{html.escape(title)}</h2>{"".join(map(sentence, said))}{names}</div>'
    return f'<section class="stage" id="{anchor}">{rail}<div class="fig">{body}</div></section>'


def layers(way: Way, shown: range, figures: Figures) -> str:
    """Every head of every layer, and the one looked at in full."""
    said = (
        "Attention moves information between tokens; nothing else does. In each picture a row is a token that looks, a column one that it looks at. Stronger: more is taken.",
        "The words under a picture are measured on this text.",
        wording.head_choice(way),
    )
    size = f"[{way.shape.num_heads}, {len(way.tokens)}, {len(way.tokens)}]"
    return stage("layers", "Layers", said, [f"layers.*.attention.weights {size}"], attention(way, shown, figures))


STAGES: Final[Sequence[Stage]] = (tokens, embedding, position, layers, units, stream, output)


def _strip(way: Way, figures: Figures, site: str, index: int, scale: Scale, limit: float) -> str:
    values = way.trace[site][0, index]
    name = f"{site} of {way.tokens[index].text}: {len(values)} numbers"
    return figures.canvas(values, scale, site=site, at=[0], rows=index, name=name, limit=limit)


def _line(way: Way, index: int, strip: str, side: str) -> str:
    css = "line on" if index == way.place.position else "line"
    return f'<div class="{css}"><span class="label">{visible_text(way.tokens[index].text)}</span>{strip}<span class="side">{side}</span></div>'


def _line_head(strip: str, side: str, label: str = "") -> str:
    return f'<div class="line cap"><span>{label}</span><span>{strip}</span><span class="side">{side}</span></div>'


def _words(texts: Iterable[str]) -> str:
    return " ".join(f"<span>{visible_text(text)}</span>" for text in texts)


def _candidate(way: Way, candidate: Candidate, is_warm: bool) -> str:
    css = "cut" if not candidate.is_kept else "on" if candidate.id == way.output.choice.id else ""
    scaled = [figure(candidate.scaled)] if is_warm else []
    share = chance(candidate.share) if candidate.is_kept else "cut"
    cells = [cell(visible_text(candidate.text)), figure(candidate.logit), *scaled, figure(candidate.exponential, 4)]
    return row([*cells, cell(bar(candidate.share), "barred"), cell(share, "num")], css)


def _shape(way: Way, site: str) -> str:
    return f"{site} [{', '.join(map(str, way.trace[site].shape[1:]))}]"
