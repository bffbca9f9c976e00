"""How a distribution becomes a word, and why greedy repeats. In: a prompt, a temperature. Out: texts, and how much they repeat.

The output is a share for every token; one of them must be chosen. Greedy takes the largest every time. It ends in loops,
because a sentence that was said makes itself likelier each time it is said again (Holtzman et al. 2020 §3; Xu et al. 2022).
How much a text repeats is the share of its 4-grams that have been in it before (Welleck et al. 2020, eq. 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from ..decode import Engine, Sampling, Session, autoregressive
from ..lens.numerals import chance, count, number
from ..lens.words import Words
from ..lm import LM
from .figures import Bar, Bars, Curve, Line, Table
from .lesson import Check, Entry, Finding, Shown
from .live import logits, need_writer, run, some_tokens, words_of
from .settings import Setting, Settings, real, text, whole

SIZE = 4
NUM_SAMPLES = 3
NUM_SHOWN = 8
NUM_ROUNDS = 5


def settings(lm: LM) -> tuple[Setting, ...]:
    """A prompt, how it is drawn, how long, and a sentence to repeat."""
    return (
        text("prompt", "Prompt", "Once upon a time"),
        real("temperature", "Temperature", 0.8, 0.05, 2),
        whole("tokens", "Tokens to write", max(20, min(120, lm.config.context - 40)), 20, 200),
        whole("seed", "Seed", 0, 0, 999),
        text("sentence", "Sentence to repeat", " She looked at the red boat.", most=80),
    )


def show(lm: LM, given: Settings) -> Shown:
    """Write greedily and by lot, count what is said twice, and let a sentence repeat itself."""
    words, heat, length = words_of(lm), given.real("temperature"), given.whole("tokens")
    ids = some_tokens(lm, given.text("prompt"), most=max(1, lm.config.context - length))
    chosen = [Sampling(temperature=0)]
    chosen += [Sampling(temperature=heat, seed=given.whole("seed") + index) for index in range(NUM_SAMPLES)]
    greedy, *drawn = written(lm, ids, length, chosen)
    repeats, lot = repeated(greedy), fmean(repeated(text) for text in drawn)
    said = logits(lm, run(lm, ids)[-1:])[0].double()
    rounds = again(lm, given.text("sentence"))
    return Shown(
        text=(
            f"The model does not say a word. It gives each of its {len(said):,} tokens a share, and something has to "
            "choose. Greedy takes the largest share every time. Drawing takes a token by lot, as often as its share "
            "says; temperature makes the large shares larger (below 1) or smaller (above 1) first.",
            f"Greedy sounds safe and tends to loops: of the {SIZE}-token runs of its text {chance(repeats)} have been "
            f"there before, against {chance(lot)} when drawn. {_why(rounds)}",
        ),
        figures=(_shares(said, heat, words), _texts(lm, greedy, drawn[0]), _bars(repeats, lot, heat), _rounds(rounds)),
        findings=(
            Finding(label=f"Runs of {SIZE} tokens said before, greedy", value=chance(repeats)),
            Finding(label=f"The same, drawn at temperature {heat:g}", value=f"{chance(lot)} (mean of {NUM_SAMPLES})"),
            Finding(label="A token of the sentence, first time", value=chance(rounds[0])),
            Finding(label="The same, second time", value=chance(rounds[1])),
        ),
        wrong=Check(
            claim="Greedy text that repeats no more than text that was drawn.",
            threshold=f"a share of repeated {SIZE}-token runs that is not above the other",
            found=f"{chance(repeats)} against {chance(lot)}",
            holds=repeats > lot,
        ),
        fair=f"One model, one prompt, {count(len(greedy), 'token')} each; the end of a story does not end a text, so "
        f"that none is shorter. By lot, {NUM_SAMPLES} texts were written and their mean is taken.",
    )


def _why(rounds: Sequence[float]) -> str:
    """What the last figure says about it."""
    measured = (
        f"a token of a sentence has {chance(rounds[0])} when it is read first and {chance(rounds[1])} the second time"
    )
    if rounds[1] > rounds[0]:
        return f"The last figure shows why: {measured}, and what is likeliest is what greedy takes."
    return f"In most models a sentence that was said is likelier the next time. Not here, as the last figure shows: {measured}."


def written(lm: LM, ids: Sequence[int], length: int, chosen: Sequence[Sampling]) -> list[list[int]]:
    """A text for each way of choosing: exactly `length` ids after the prompt, for what would end a text does not."""
    found: list[list[int]] = [[] for _ in chosen]
    decoders = [autoregressive(Session(lm.model), ids, sampling, max_tokens=length, eos_ids=()) for sampling in chosen]
    for index, event in Engine[int]().run(decoders):
        if event.is_final and event.new is not None:
            found[index].append(event.new)
    return found


def repeated(ids: Sequence[int]) -> float:
    """The share of the runs of SIZE ids that stood in the text before."""
    runs = [tuple(ids[start : start + SIZE]) for start in range(len(ids) - SIZE + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def again(lm: LM, sentence: str) -> list[float]:
    """How likely a token of a sentence is, the geometric mean, the first time it is read, the second, and so on."""
    ids = some_tokens(lm, sentence, least=2, most=lm.config.context // NUM_ROUNDS)
    before = lm.tokenizer.frame[0]
    ids = ids[len(before) :]
    row = [*before, *ids * NUM_ROUNDS]
    chances = logits(lm, run(lm, row)).double().log_softmax(-1)
    found = []
    for index in range(NUM_ROUNDS):
        start = len(before) + index * len(ids)
        each = [chances[start + place - 1, ids[place]] for place in range(1, len(ids))]
        found.append(float(torch.stack(each).mean().exp()))
    return found


def _shares(said: Tensor, heat: float, words: Words) -> Table:
    plain, warm = said.softmax(-1), (said / heat).softmax(-1)
    best = plain.topk(NUM_SHOWN).indices.tolist()
    rows = [(words.text(i), number(float(said[i])), chance(float(plain[i])), chance(float(warm[i]))) for i in best]
    rest = tuple(chance(float(1 - shares[best].sum())) for shares in (plain, warm))
    return Table(
        title="The next token's shares",
        caption="Softmax of the logits, and of the logits divided by the temperature. Greedy takes the first row.",
        source="output.logits",
        heads=("token", ">logit", ">share", f">at {heat:g}"),
        rows=(*rows, (f"{len(said) - len(best):,} others", "", *rest)),
        looked=(0, 0),
    )


def _texts(lm: LM, greedy: list[int], drawn: list[int]) -> Table:
    return Table(
        title="Two texts from one prompt",
        caption="The first greedy, the second drawn.",
        source="tokens",
        heads=("how", "text"),
        rows=tuple((name, lm.tokenizer.decode(ids).strip()) for name, ids in (("greedy", greedy), ("drawn", drawn))),
    )


def _bars(repeats: float, lot: float, heat: float) -> Bars:
    rows = {"greedy": repeats, f"drawn at {heat:g}": lot}
    return Bars(
        title=f"Runs of {SIZE} tokens that were said before",
        caption="As a share of all such runs of a text.",
        source="tokens",
        rows=tuple(Bar(label=name, value=value, text=chance(value)) for name, value in rows.items()),
        scale=max(repeats, lot) or 1.0,
    )


def _rounds(rounds: Sequence[float]) -> Curve:
    return Curve(
        title="A sentence that is read again and again",
        caption="How likely each of its tokens is, on average (the geometric mean), each time.",
        source="output.logits",
        x="time",
        y="chance",
        lines=(
            Line(label="chance", points=tuple((float(index), share) for index, share in enumerate(rounds, start=1))),
        ),
        is_share=True,
    )


ENTRY = Entry(
    name="choosing",
    title="How do chances become a word?",
    line="greedy and drawn text, and why greedy repeats",
    check=need_writer,
    settings=settings,
    show=show,
)
