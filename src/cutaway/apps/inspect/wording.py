"""Numbers and sentences that terminal and page share. In: figures. Out: text, in the words and forms of the microscope.

A minus is U+2212, a chance is "19 %", a weight is 0.79. Sentences are short, exact, and say what is drawn.
"""

from __future__ import annotations

import math

from ...lens.heads import Head, HeadSummary
from ...lens.numerals import chance as chance
from ...lens.numerals import count as count
from ...lens.numerals import number as number
from ...lens.output import Output
from ...lens.stream import Reading
from ...lens.way import Way


def size(way: Way) -> str:
    """The model in one line."""
    shape = way.shape
    parts = (count(shape.num_layers, "layer"), count(shape.num_heads, "head"), f"{shape.d_model} wide")
    return f"{', '.join(parts)}, vocabulary {shape.vocab_size:,}"


def cut(way: Way) -> str:
    """What became of the text."""
    return f"{count(len(way.text), 'character')}, {count(len(way.tokens), 'token')}. {way.rule}"


def shares(way: Way) -> str:
    """What word and position shares are."""
    if not way.shape.adds_positions:
        return f"No position is added to the token's row, so the input is all word. {way.shape.order}"
    return f"{way.shape.order} Shares are those of the squared lengths, |word|² and |position|²; they add up to 1."


def head_title(way: Way) -> str:
    """Which head is shown."""
    return f"Attention of layer {way.place.layer}, head {way.place.head}"


def head_choice(way: Way) -> str:
    """Why this head: a sentence, or nothing where the reader chose it."""
    if not way.place.is_chosen_for_you:
        return ""
    return (
        "You see the head that looks most at one token between the first and its own; choose with --layer and --head."
    )


def finding(way: Way, summary: HeadSummary) -> str:
    """What a head does on this text, measured.

    Its habit, where the mean of all tokens says so; else where the token looked at looks; else how far that token's weights are
    spread, as entropy: 1 bit is two tokens alike, 2 bits are four.
    """
    means = {"first token": summary.first, "itself": summary.itself, "one back": summary.previous}
    name, share = max(means.items(), key=lambda pair: pair[1])
    if share >= 0.5:
        return f"{name} {share:.2f}"
    if summary.weights[summary.source] < 0.25:
        return f"spread {sum(-w * math.log2(w) for w in summary.weights if w):.1f} bits"
    return looks(way, summary)


def looks(way: Way, summary: HeadSummary) -> str:
    """Where the token looked at looks most."""
    tokens = way.tokens[way.place.position].text, way.tokens[summary.source].text
    return f"{tokens[0]} → {tokens[1]} {summary.weights[summary.source]:.2f}"


def score_column(head: Head) -> str:
    """The head of the column that follows q · k."""
    is_plain = head.softcap is None and not head.has_bias
    if not is_plain:
        return "score"
    return f"÷ √{head.d_head}" if abs(head.scale * head.d_head**0.5 - 1) < 1e-9 else f"× {head.scale:g}"


def score_steps(head: Head) -> str:
    """How a product becomes a score, where it is more than one step."""
    steps = [f"q · k × {head.scale:.4g}"]
    if head.softcap is not None:
        steps.append(f"held below {head.softcap:g} by {head.softcap:g} · tanh(x / {head.softcap:g})")
    if head.has_bias:
        steps.append("plus the bias for the distance")
    return f"Score: {', '.join(steps)}." if len(steps) > 1 else ""


def after(reading: Reading) -> str:
    """Where on its way up the stream is read."""
    part = {"start": "input", "middle": "attention", "end": "feed-forward"}[reading.point]
    return part if reading.point == "start" else f"layer {reading.layer} {part}"


def arithmetic(output: Output) -> str:
    """How a logit becomes a share, with this output's numbers."""
    kept = f"the {output.num_kept:,} kept" if output.num_kept < output.vocab_size else f"all {output.vocab_size:,}"
    division = "z = logit" if output.temperature == 1 else f"z = logit ÷ {output.temperature:g}"
    return (
        f"{division}. The largest is m = {number(output.maximum, 4)}; exp(z − m) summed over {kept} is "
        f"{number(output.total, 4)}. A share is exp(z − m) ÷ {number(output.total, 4)}, "
        f"which is exp(z − {number(output.log_sum_exp, 4)})."
    )


def longest_share(output: Output) -> float:
    """The share whose bar takes the whole column."""
    return max(output.others_share, *(candidate.share for candidate in output.candidates))


def chosen(output: Output) -> str:
    """How the token was chosen, and what it is."""
    choice = output.choice
    if choice.draw is None:
        how = f"It is the likeliest, {chance(choice.probability)}."
    else:
        how = (
            f"A draw of {choice.draw:.3f} between 0 and 1 lands on it; its share is {chance(choice.probability)}, "
            f"rank {choice.rank + 1:,}."
        )
    if choice.role == "eos":
        return f"{how} It ends the text."
    return f"{how} It is a special token ({choice.role}), no text." if choice.role else how


def actual(way: Way) -> str:
    """What the prompt goes on with, where the place looked at is not its end."""
    found = way.output.actual
    if found is None:
        return ""
    return f"The text goes on with {found.text}: rank {found.rank + 1:,}, {chance(found.model_share)} by the model."
