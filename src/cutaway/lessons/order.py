"""What order means to a transformer. In: a sentence, who sees whom, positions on or off. Out: what tells it from its reverse.

Attention is a sum over the tokens that are seen, and a sum has no order: where all see all and nothing tells their places, the
outputs of a permuted text are the permuted outputs (Vaswani et al. 2017 §3.5; Lee et al. 2019). Where a token sees only what came
before it, the order is in who sees whom, with or without positions (Haviv et al. 2022). Positions are switched off by the model's
twin without them (`lens.placeless`), whatever their kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from ..lens.inputs import order_of
from ..lens.numerals import count, small
from ..lens.placeless import placeless
from ..lens.words import Words
from ..lm import LM
from ..model import Call
from ..model.visibility import causal, full
from .figures import Link, Pairs, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_one_stack, one_token, spread, strip, words_of
from .settings import Setting, Settings, choice, text

MOST_WORDS = 6
EQUAL = 1e-5  # of the largest number, where that is above 1
SIGHT = {"all": "all see all", "before": "only what came before"}
SWITCH = {"off": "positions off", "on": "positions on"}
SAID = {
    "all off": "Every token sees all, and nothing marks its place. Out come the same vectors, in another order. To the "
    "model, set up like this, the two sentences are one. A causal model still learns order: there each token sees only what "
    "came before it, and the last table shows that this is not the same in the two sentences.",
    "before off": "No positions, but each token sees only what came before it, and that is not the same in the two "
    "sentences: see the last table. Order comes in through who may see whom. This is how a causal model can learn order "
    "without positions.",
}
ADDED = (
    "A word that stands elsewhere enters as a different vector, so its output differs. A word in the middle enters unchanged; it "
    "differs because its neighbours do."
)
MET = "Every word enters unchanged; the outputs differ because a query and a key meet differently at another distance."
MIRRORED = (
    "Yet a sentence and its reverse have the same distances, and here a distance counts alike to both sides: the outputs are "
    "equal. What is near and what is far is told, and not what comes first."
)
TRAINED = {
    True: "This is how the model was trained, and how it reads.",
    False: "This is how the model was trained, and how it writes.",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to run both sentences. first, second: [position, d_model]; gaps: the largest difference of each word's outputs."""

    first: Tensor
    second: Tensor
    gaps: tuple[float, ...]

    @property
    def equal(self) -> float:
        """The largest gap that is rounding."""
        return EQUAL * max(1.0, float(self.first.abs().max()))


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """A sentence, who sees whom, and whether positions are added."""
    return (
        text("words", "Sentence", "I love you", most=60),
        choice("sight", "Who sees whom", "all", SIGHT),
        choice("positions", "Positions", "off", SWITCH),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model of two stacks, or without a tokenizer."""
    need_one_stack(lm)


def show(lm: LM, given: Settings) -> Shown:
    """Run the sentence and its reverse in all four ways."""
    spoken = given.text("words").split()
    if not 2 <= len(spoken) <= MOST_WORDS:
        raise CutawayError(f"words has {count(len(spoken), 'word')}. Allowed: 2 to {MOST_WORDS}.")
    ids = [one_token(lm, word) for word in spoken]
    if ids == ids[::-1]:
        raise CutawayError(
            f"“{' '.join(spoken)}” is the same when it is read backwards. Give words of which the order matters."
        )
    cells = {(sight, switch): measured(lm, ids, sight, switch) for sight in SIGHT for switch in SWITCH}
    chosen = given.text("sight"), given.text("positions")
    words, worst, equal = words_of(lm), max(cells["all", "off"].gaps), cells["all", "off"].equal
    return Shown(
        text=(_question(spoken), _said(lm, *chosen, cells[chosen])),
        figures=(_pairs(cells[chosen], ids, words, spoken), _four(cells, chosen), _sights(ids, words)),
        findings=(
            Finding(label="Most that an output differs, as chosen", value=small(max(cells[chosen].gaps))),
            Finding(
                label="Largest number of an output, to compare", value=small(float(cells[chosen].first.abs().max()))
            ),
        ),
        wrong=Check(
            claim="Any output that differs while positions are off and all see all.",
            threshold=f"more than {small(equal)}",
            found=f"{small(worst)} (rounding)" if 0 < worst <= equal else small(worst),
            holds=worst <= equal,
        ),
        fair="Both sentences are made of the same token ids, each with a space in front. “You” and “you” are "
        "different tokens; with them the test would prove nothing.",
    )


def measured(lm: LM, ids: Sequence[int], sight: str, switch: str) -> Cell:
    """Both sentences in one of the four ways."""
    tokens = full(len(ids)) if sight == "all" else causal(len(ids))
    model = placeless(lm.model) if switch == "off" else lm.model
    first, second = (model.states(torch.tensor([list(row)]), Call(tokens))[0] for row in (ids, ids[::-1]))
    gaps = (first - second.flip(0)).abs().amax(dim=1)
    return Cell(first, second, tuple(gaps.tolist()))


def _said(lm: LM, sight: str, switch: str, cell: Cell) -> str:
    """What the chosen way shows."""
    if switch == "off":
        return SAID[f"{sight} off"]
    stack = lm.config.main
    how = f"Positions are on: {order_of(stack)[:1].lower()}{order_of(stack)[1:]}"
    sees_ahead = lm.config.sees_ahead
    trained = [TRAINED[sees_ahead]] if (sight == "all") == sees_ahead else []
    met = ADDED if stack.position.is_table else MET if max(cell.gaps) > cell.equal else MIRRORED
    return " ".join([how, met, *trained])


def _question(spoken: Sequence[str]) -> str:
    one, other = " ".join(spoken), " ".join(reversed(spoken))
    return (
        f"“{one}” and “{other}” hold the same words. Which parts of the model can tell that the order differs? Below, "
        "one network reads both; each line joins the outputs of the same word."
    )


def _pairs(cell: Cell, ids: Sequence[int], words: Words, spoken: Sequence[str]) -> Pairs:
    last = len(ids) - 1
    links = [
        Link(
            left=i,
            right=last - i,
            text="equal" if gap <= cell.equal else f"differs {small(gap)}",
            is_equal=gap <= cell.equal,
        )
        for i, gap in enumerate(cell.gaps)
    ]
    return Pairs(
        title="The outputs of each word",
        caption="A strip is the vector that leaves the last norm. Lines say how far two outputs of a word lie apart at most.",
        source="output.norm",
        heads=(" ".join(spoken), " ".join(reversed(spoken))),
        left=tuple(strip(words.text(i), vector) for i, vector in zip(ids, cell.first, strict=True)),
        right=tuple(strip(words.text(i), vector) for i, vector in zip(reversed(ids), cell.second, strict=True)),
        links=tuple(links),
        scale=spread(cell.first, cell.second),
    )


def _four(cells: dict[tuple[str, str], Cell], chosen: tuple[str, str]) -> Table:
    def said(sight: str, switch: str) -> str:
        worst = max(cells[sight, switch].gaps)
        return "0, cannot tell" if worst <= cells[sight, switch].equal else f"{small(worst)}, can tell"

    return Table(
        title="Which can tell",
        caption="The largest difference between the two outputs of a word.",
        source="output.norm",
        heads=("", *SWITCH.values()),
        rows=tuple((SIGHT[sight], *(said(sight, switch) for switch in SWITCH)) for sight in SIGHT),
        looked=(list(SIGHT).index(chosen[0]), 1 + list(SWITCH).index(chosen[1])),
    )


def _sights(ids: Sequence[int], words: Words) -> Table:
    """What each word sees in the two sentences, where it sees what came before it."""

    def seen(order: Sequence[int], place: int) -> str:
        return " ".join(words.text(i) for i in order[: place + 1])

    last = len(ids) - 1
    rows = ((words.text(i), seen(ids, place), seen(ids[::-1], last - place)) for place, i in enumerate(ids))
    return Table(
        title="What each word sees, of only what came before",
        caption="To attention these are sets: it adds up what it sees, in whatever order it stands there. Where all "
        "see all, every set is the whole sentence.",
        source="visibility",
        heads=("word", "in the first", "in the second"),
        rows=tuple(rows),
    )


ENTRY = Entry(
    name="order",
    title="What does order mean to a transformer?",
    line="“I love you” against “you love I”: what tells them apart",
    check=check,
    settings=settings,
    show=show,
)
