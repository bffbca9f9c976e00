"""Meaning against grammar. In: words that share a meaning or a form. Out: how alike each makes their vectors.

The words stand in a table: in a row they share what they mean (walk, walked, walking), in a column their form (walked,
played). Where both pull vectors together, the mean cosine within rows and within columns is above that of words that share
neither. That one table holds both is what makes walked − walk + play come near played (Mikolov et al. 2013, "Linguistic
regularities").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from torch import Tensor

from ..lens.embeddings import analogy
from ..lens.inputs import neighbours
from ..lens.numerals import number
from ..lens.words import Words
from ..lm import LM
from .embedding import alike
from .figures import Bars, Matrix, Table
from .lesson import Check, Entry, Finding, Shown
from .live import cosine_bars, need_words, one_token, words_of
from .settings import Setting, Settings, choice, text

GROUPS = {
    "verbs": (("look", "looked", "looking"), ("play", "played", "playing"), ("walk", "walked", "walking")),
    "nouns": (("boy", "boys"), ("dog", "dogs"), ("tree", "trees"), ("house", "houses")),
}
LEAST = 0.05  # of the difference between two mean cosines
NUM_NEIGHBOURS = 6


@dataclass(frozen=True, slots=True)
class Likeness:
    """Mean cosines: of words with the same meaning, with the same form, and with neither."""

    meaning: float
    form: float
    neither: float

    @property
    def least_gain(self) -> float:
        """How much the weaker of meaning and form adds to sharing nothing."""
        return min(self.meaning, self.form) - self.neither


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """Which words are compared, and a word whose neighbours are shown."""
    return (choice("group", "Words", "verbs", GROUPS), text("word", "Neighbours of", "walked", most=30))


def show(lm: LM, given: Settings) -> Shown:
    """Compare all words of the group in pairs, and look for the neighbours of one."""
    words, table = words_of(lm), lm.model.token.weight.detach().float()
    group = GROUPS[given.text("group")]
    ids = [[one_token(lm, word) for word in row] for row in group]
    found = likeness(table, ids)
    word = one_token(lm, given.text("word"))
    (first, second, *_), (third, asked, *_) = ids[:2]
    guessed, wanted = analogy(lm.model, words, second, first, third, 1).neighbours[0].text, words.text(asked)
    return Shown(
        text=(
            f"Two words can be near each other for two reasons. “{group[0][0]}” and “{group[0][1]}” share a meaning; "
            f"“{group[0][1]}” and “{group[1][1]}” share a form. A model that has only ever guessed words from the words "
            "around them needs both: the meaning says what the text is about, the form says what fits here.",
            "The table of the model holds both at once. Words that share their meaning have a mean cosine of "
            f"{number(found.meaning)}, words that share their form {number(found.form)}, and words that share neither "
            f"{number(found.neither)}.",
        ),
        figures=(_bars(found), _matrix(table, ids, words), _neighbours(table, word, words)),
        findings=(
            Finding(label="Meaning adds", value=number(found.meaning - found.neither)),
            Finding(label="Form adds", value=number(found.form - found.neither)),
            Finding(
                label=f"{group[0][1]} − {group[0][0]} + {group[1][0]} is nearest to",
                value=f"{guessed} (asked: {wanted})",
            ),
        ),
        wrong=Check(
            claim="Words of one meaning, or words of one form, that are hardly more alike than words that share neither.",
            threshold=f"a mean cosine that is not {LEAST} above theirs",
            found=f"the smaller of the two is {number(found.least_gain)} above",
            holds=found.least_gain >= LEAST,
        ),
        fair="Rows and columns hold the same words, each once in both; only which pairs count differs. Every word is "
        "one token with a space before it.",
    )


def likeness(table: Tensor, ids: Sequence[Sequence[int]]) -> Likeness:
    """The three mean cosines. table: [vocab, d_model]; ids: [meaning][form]."""
    cosines = alike(table[[i for row in ids for i in row]]).tolist()
    num_forms = len(ids[0])
    kinds: dict[str, list[float]] = {"meaning": [], "form": [], "neither": []}
    for one, other in combinations(range(len(cosines)), 2):
        is_meaning, is_form = one // num_forms == other // num_forms, one % num_forms == other % num_forms
        kinds["meaning" if is_meaning else "form" if is_form else "neither"].append(cosines[one][other])
    return Likeness(**{kind: fmean(values) for kind, values in kinds.items()})


def _bars(found: Likeness) -> Bars:
    values = {"same meaning": found.meaning, "same form": found.form, "neither": found.neither}
    return cosine_bars("How alike, on average", "The mean cosine over all pairs of each kind.", values.items())


def _matrix(table: Tensor, ids: Sequence[Sequence[int]], words: Words) -> Matrix:
    """Every word against every other, by form."""
    flat = [row[form] for form in range(len(ids[0])) for row in ids]
    labels = tuple(words.text(i) for i in flat)
    return Matrix(
        title="Every word against every other",
        caption="Forms stand together, so blocks on the diagonal are grammar and the lines beside it meaning.",
        source="embedding.token",
        rows=labels,
        columns=labels,
        values=tuple(map(tuple, alike(table[flat]).tolist())),
        role="learned",
        is_share=False,
    )


def _neighbours(table: Tensor, word: int, words: Words) -> Table:
    near = neighbours(table, [word], words, NUM_NEIGHBOURS)[0]
    return Table(
        title=f"The nearest words of {words.text(word)}",
        caption="Look which share its meaning and which its form.",
        source="embedding.token",
        heads=("word", ">cosine"),
        rows=tuple((each.text, number(each.cosine)) for each in near),
    )


ENTRY = Entry(
    name="meaning",
    title="Meaning, or grammar?",
    line="walk, walked, played: what words that are near each other share",
    check=need_words,
    settings=settings,
    show=show,
)
