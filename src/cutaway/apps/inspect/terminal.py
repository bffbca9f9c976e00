"""The way in a terminal. In: a `Way` and a rich console. Out: its stages from text to chosen token, in characters.

Colours and shades are those of `characters`. Everything keeps to the console's width, from 72 to 100 cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...lens.output import Candidate
from ...lens.way import Way, window
from . import wording
from .characters import (
    BROAD,
    COMPUTED,
    LEARNED,
    LOOK,
    NARROW,
    QUIET,
    bar,
    fit,
    make_table,
    put,
    say,
    shade,
    stage,
)
from .wording import chance, count, number

ROWS: Final = 24
LABEL: Final = 14
WIDE: Final = 92


def show(way: Way, console: Console, name: str, *, is_short: bool = False) -> None:
    """Print the way. name: of the model. is_short: tokens, inputs, attention and output only."""
    console.width = max(NARROW, min(console.width, BROAD))
    stages = (tokens, inputs, attention, output) if is_short else STAGES
    opening(way, console, name)
    for draw in stages:
        console.print()
        draw(way, console)


def opening(way: Way, console: Console, name: str) -> None:
    """The model, and the prompt as its tokens."""
    console.print(Text.assemble((name, "bold"), f"  {wording.size(way)}"))
    _before(way, console)
    line = Text()
    for index in _shown(way):
        line.append(" " if line else "")
        line.append(way.tokens[index].text, f"bold {LOOK}" if index == way.place.position else "bold")
    console.print(Padding(line, (0, 0, 0, 2), expand=False))


def tokens(way: Way, console: Console) -> None:
    """Text -> tokens and ids, with the joins."""
    stage(console, "Tokens", wording.cut(way))
    has_joins = any(token.joins for token in way.tokens)
    columns = [
        ">#",
        "<token",
        ">id",
        "<bytes",
        *(["<joins in order, each with its rank"] * has_joins),
    ]
    table = make_table(*columns)
    for index in _shown(way):
        token = way.tokens[index]
        joins = ", ".join(f"{join.left}+{join.right} {join.rank:,}" for join in token.joins)
        cells: list[Text | str] = [_index(way, index), _token(way, index), str(token.id), _bytes(token.bytes)]
        table.add_row(*cells, *([joins or "–"] * has_joins))
    put(console, table)


def inputs(way: Way, console: Console) -> None:
    """Vectors, their lengths, and what is word and what is position."""
    place = way.place.position
    stage(
        console,
        "Input",
        f"An id picks its row of the learned table: {way.shape.d_model} numbers. {wording.shares(way)}",
    )
    put(console, _vectors(way, place, room=console.width - 26))
    console.print()
    table = make_table(">#", "<token", ">|word|", ">|position|", ">|input|", "<word █ and position ░", ">", ">")
    for index in _shown(way):
        found = way.inputs[index]
        parts = round(20 * found.word_share)
        bar = Text("█" * parts + "░" * (20 - parts), LEARNED)
        norms = [number(norm) for norm in (found.word_norm, found.position_norm, found.sum_norm)]
        both = (chance(found.word_share), chance(found.position_share))
        table.add_row(_index(way, index), _token(way, index), *norms, bar, *both)
    put(console, table)


def neighbours(way: Way, console: Console) -> None:
    """The nearest words of each token."""
    stage(
        console,
        "Nearest words",
        "Rows of the token table that point the same way. 1.00 is the same direction, 0 a right angle.",
    )
    table = make_table("<token", "<nearest, with the cosine")
    for index in dict.fromkeys({way.tokens[i].id: i for i in _shown(way)}.values()):
        found = way.inputs[index].neighbours[: 8 if index == way.place.position else 4]
        line = Text("  ").join(Text.assemble((word.text, LEARNED), f" {number(word.cosine)}") for word in found)
        table.add_row(_token(way, index), line)
    put(console, table)


def attention(way: Way, console: Console) -> None:
    """One head as a picture in characters, then the row of the token looked at as a ledger."""
    legend = "A row is a token that looks, a column a token that it looks at. ░ from 0.05, ▒ 0.25, ▓ 0.50, █ 0.75; · is hidden."
    stage(console, wording.head_title(way), legend, wording.head_choice(way))
    shown = _shown(way)
    label = min(LABEL, (console.width - 2 * len(shown) - 12) // 2)
    console.print(Text(" " * (label + 6) + "".join(f"{index % 100:<2}" for index in shown), QUIET))
    for query in shown:
        strongest = way.head.strongest[query]
        weight = way.head.weights[query][strongest]
        line = Text.assemble(
            "  ", (f"{query:>3} ", LOOK if query == way.place.position else QUIET), _token(way, query, label)
        )
        for key in shown:
            is_hidden = way.head.scores[query][key] is None
            line.append("· " if is_hidden else shade(way.head.weights[query][key]), QUIET if is_hidden else COMPUTED)
        line.append(f" {fit(way.tokens[strongest].text, min(10, label))} {weight:.2f}")
        console.print(line)
    console.print()
    put(console, _ledger(way))
    if steps := wording.score_steps(way.head):
        say(console, steps)


def stream(way: Way, console: Console) -> None:
    """The residual stream of the token looked at: lengths, and the logit lens."""
    said = (
        "Its vector on the way up: how long it is, how long what was added is, and what the model would say from there "
        "(logit lens)."
    )
    stage(console, f"Stream of {way.tokens[way.place.position].text}", said)
    longest = max(reading.norm for reading in way.stream)
    has_bars = console.width >= WIDE
    table = make_table("<after", ">length", *(["<"] * has_bars), ">added", "<would say")
    for reading in way.stream:
        guesses = Text("  ").join(
            Text.assemble(guess.text, (f" {chance(guess.probability)}", QUIET)) for guess in reading.guesses
        )
        added = "" if reading.added is None else number(reading.added)
        bars = [bar(reading.norm / longest, 10)] * has_bars
        table.add_row(wording.after(reading), number(reading.norm), *bars, added, guesses)
    put(console, table)


def units(way: Way, console: Console) -> None:
    """The feed-forward layer of the token looked at."""
    found = way.units
    if found.experts:
        stage(
            console, f"Experts of layer {found.layer}", "The router gives each expert a chance; the likeliest are used."
        )
        table = make_table(">expert", ">chance")
        for expert in found.experts:
            table.add_row(str(expert.index), chance(expert.chance))
        put(console, table)
        return
    said = (
        f"{found.num_firing:,} of {found.num_units:,} units are above 0 before the activation. Each writes its learned "
        "direction, toward some words and away from others; the strongest:"
    )
    stage(console, f"Feed-forward of layer {found.layer}", said)
    table = make_table(">unit", ">before", ">active", ">writes", "<toward", "<away from")
    for unit in found.units:
        values = (number(value) for value in (unit.before, unit.active, unit.strength))
        both = (" ".join(words[: 3 if console.width >= WIDE else 2]) for words in (unit.toward, unit.away))
        table.add_row(str(unit.index), *values, *both)
    put(console, table)


def output(way: Way, console: Console) -> None:
    """The top of the distribution with its arithmetic, and the chosen token."""
    found = way.output
    asked = "next token" if found.actual is None else f"token after {way.tokens[found.position].text}"
    stage(
        console,
        "Output",
        f"The last vector gives every token a logit; softmax makes them shares for the {asked}.",
        wording.arithmetic(found),
    )
    is_warm, longest = found.temperature != 1, wording.longest_share(found)
    heads = ["<token", ">logit", *([f">÷ {found.temperature:g}"] * is_warm), ">exp(z − m)", ">share", "<"]
    table = make_table(*heads)
    for candidate in found.candidates:
        table.add_row(*_candidate(way, candidate, is_warm, longest), style=None if candidate.is_kept else QUIET)
    blanks = [""] * (2 + is_warm)
    table.add_row(
        Text(f"{found.num_others:,} others", QUIET),
        *blanks,
        chance(found.others_share),
        bar(found.others_share / longest, 24),
    )
    put(console, table)
    say(console, wording.actual(way))
    console.print()
    console.print(
        Text.assemble(
            ("Chosen  ", "bold"),
            (found.choice.text, f"bold {COMPUTED}"),
            f"  id {found.choice.id}. {wording.chosen(found)}",
        )
    )


STAGES: Final[Sequence[Callable[[Way, Console], None]]] = (tokens, inputs, neighbours, attention, stream, units, output)


def _vectors(way: Way, place: int, room: int) -> Table:
    """The three vectors of one token, as many numbers as fit."""
    found = way.inputs[place]
    first = max(2, min(8, room // 8))
    table = make_table("<", f"<{way.tokens[place].text}: the first {first} of {len(found.word)} numbers", ">length")
    rows = (
        ("word", found.word, found.word_norm),
        ("+ position", found.position, found.position_norm),
        ("= input", found.sum, found.sum_norm),
    )
    for name, vector, norm in rows:
        style = COMPUTED if name.startswith("=") else LEARNED
        table.add_row(
            name, Text(" ".join(f"{number(value, 3):>7}" for value in vector[:first]) + " …", style), number(norm)
        )
    return table


def _ledger(way: Way) -> Table:
    """The strongest sources of the token looked at, and the rest in one line."""
    head, place = way.head, way.place.position
    ranked = sorted(head.sources, key=lambda source: -source.weight)
    shown = sorted((source for source in ranked[:6] if source.score is not None), key=lambda source: source.index)
    table = make_table(
        f"<{way.tokens[place].text} looks at", ">q · k", f">{wording.score_column(head)}", "<softmax", ">", ">|value|"
    )
    for source in shown:
        assert source.score is not None, "hidden sources are left out"
        numbers = (number(source.product), number(source.score))
        table.add_row(
            _token(way, source.index),
            *numbers,
            bar(source.weight, 20),
            number(source.weight),
            number(source.value_norm),
        )
    hidden = sum(source.score is None for source in head.sources)
    others = len(head.sources) - hidden - len(shown)
    if others:
        rest = max(0.0, 1.0 - sum(source.weight for source in shown))
        table.add_row(Text(count(others, "other"), QUIET), "", "", bar(rest, 20), number(rest), "")
    return table


def _candidate(way: Way, candidate: Candidate, is_warm: bool, longest: float) -> Iterable[Text | str]:
    is_chosen = candidate.id == way.output.choice.id
    style = "bold" if is_chosen else "" if candidate.is_kept else "strike"
    yield Text(fit(candidate.text, LABEL).rstrip(), style)
    yield number(candidate.logit)
    if is_warm:
        yield number(candidate.scaled)
    yield f"{candidate.exponential:.4f}"
    yield chance(candidate.share) if candidate.is_kept else "cut"
    yield bar(candidate.share / longest, 24)


def _before(way: Way, console: Console) -> None:
    shown = _shown(way)
    if len(shown) < len(way.tokens):
        say(console, f"{len(way.tokens):,} tokens; shown are {shown.start} to {shown.stop - 1}, all of them were read.")


def _shown(way: Way) -> range:
    return window(len(way.tokens), way.place.position, ROWS)


def _index(way: Way, index: int) -> Text:
    return Text(str(index), LOOK if index == way.place.position else QUIET)


def _token(way: Way, index: int, width: int | None = None) -> Text:
    """A token's label, cut to the width of its column."""
    text = fit(way.tokens[index].text, width or LABEL)
    return Text(text if width else text.rstrip(), LOOK if index == way.place.position else "")


def _bytes(data: bytes) -> str:
    shown = " ".join(f"{byte:02x}" for byte in data[:8])
    return shown if len(data) <= 8 else f"{shown} … {len(data)}"
