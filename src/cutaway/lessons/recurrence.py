"""How a recurrent network knows order by itself. In: three words. Out: its states, and which network knows what stood first.

A recurrent network reads one token after the other and keeps one vector, which it rewrites each time (Elman 1990):

    h(t) = tanh(W · x(t) + U · h(t − 1) + b)

What was read first has been through U more often, so the same words in another order leave another state: no position is
needed. Beside it stands a network without order, h = tanh(W · Σ x(t) + b). Both are trained here and now, on the loaded
model's own token vectors, to say which word stood first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CutawayError
from ..lens.numerals import chance, small
from ..lens.words import Words
from ..lm import LM
from ..train.optimise import AdamW, leave_compiler_out
from .figures import Bar, Bars, Curve, Line, Link, Pairs
from .lesson import Check, Entry, Finding, Shown
from .live import need_words, one_token, spread, strip, words_of
from .settings import Setting, Settings, choice, whole

PERSONS = ("I", "you", "he", "she", "they", "we")
VERBS = ("love", "know", "see", "like", "want", "hear")
D_STATE, RATE, SEED = 24, 0.01, 0
GUESSING = 0.5  # what is possible without order: one of two
NUM_READINGS = 10
EQUAL = 1e-6


@dataclass(frozen=True, slots=True)
class Examples:
    """vectors: [batch, position, d_model], three tokens each; targets: [batch], which of PERSONS stood first."""

    vectors: Tensor
    targets: Tensor


class Reader(nn.Module):
    """A network that reads vectors one by one, or (is_ordered false) all at once."""

    def __init__(self, d_model: int, *, is_ordered: bool) -> None:
        super().__init__()
        self.is_ordered = is_ordered
        self.enter = nn.utils.skip_init(nn.Linear, d_model, D_STATE)
        self.stay = nn.utils.skip_init(nn.Linear, D_STATE, D_STATE, bias=False)
        self.say = nn.utils.skip_init(nn.Linear, D_STATE, len(PERSONS))
        generator = torch.Generator().manual_seed(SEED)
        for weight in self.parameters():
            weight.data.normal_(std=0.3 * weight.shape[-1] ** -0.5, generator=generator)
        nn.init.eye_(self.stay.weight)  # the state stays as it is, at first (Le et al. 2015)

    def states(self, vectors: Tensor) -> Tensor:
        """The state after each token. vectors: [batch, position, d_model] -> [batch, position, 24]."""
        if not self.is_ordered:
            return torch.tanh(self.enter(vectors.cumsum(dim=1)))
        state, found = vectors.new_zeros(len(vectors), D_STATE), []
        for x in vectors.unbind(dim=1):
            state = torch.tanh(self.enter(x) + self.stay(state))
            found.append(state)
        return torch.stack(found, dim=1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores of who stood first. vectors: [batch, position, d_model] -> [batch, 6]."""
        scores: Tensor = self.say(self.states(vectors)[:, -1])
        return scores


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """A sentence, and how long the networks are trained."""
    return (
        choice("first", "First word", "I", PERSONS),
        choice("verb", "Verb", "love", VERBS),
        choice("second", "Last word", "you", PERSONS),
        whole("steps", "Steps of training", 60, 0, 200),
    )


def show(lm: LM, given: Settings) -> Shown:
    """Train both networks, then let them read the sentence and its reverse."""
    first, verb, second = given.text("first"), given.text("verb"), given.text("second")
    if first == second:
        raise CutawayError(f"first and second are both '{first}', so both orders are one. Choose two different words.")
    known = examples(lm, [other for other in VERBS if other != verb])
    held_out = examples(lm, [verb])
    with torch.inference_mode(mode=False):
        recurrent, bag = (Reader(known.vectors.shape[-1], is_ordered=is_ordered) for is_ordered in (True, False))
    curves = [trained(network, known, held_out, given.whole("steps")) for network in (recurrent, bag)]
    ids = [one_token(lm, word) for word in (first, verb, second)]
    states = [both(network, lm, ids) for network in (recurrent, bag)]
    gaps = [float((one[-1] - other[-1]).abs().max()) for one, other in states]
    right = [curve[-1][1] for curve in curves]
    return Shown(
        text=_text((first, verb, second), gaps, right),
        figures=(_pairs(states[0], ids, words_of(lm)), _curve(curves), _bars(gaps)),
        findings=(
            Finding(label="Right about the first word, recurrent", value=chance(right[0])),
            Finding(label="The same, adding up", value=chance(right[1])),
            Finding(label="States after both orders, adding up", value="equal" if gaps[1] <= EQUAL else small(gaps[1])),
            Finding(
                label="Sentences to learn from, and held out", value=f"{len(known.targets)}, {len(held_out.targets)}"
            ),
        ),
        wrong=Check(
            claim="A recurrent network that cannot say which word stood first, on sentences that it was not trained on.",
            threshold=f"right in {chance(GUESSING)} or less, what is possible without order",
            found=f"right in {chance(right[0])}",
            holds=right[0] > GUESSING,
        ),
        fair="Both networks have the same sizes and first weights, see the same vectors and sentences, and are "
        f"trained for as many steps. Every sentence is there in both orders, and none with “{verb}” is trained on.",
    )


def _text(words: tuple[str, str, str], gaps: Sequence[float], right: Sequence[float]) -> tuple[str, ...]:
    """The text of the lesson. gaps, right: of the recurrent network and of the one that adds up."""
    return (
        "A transformer sees all tokens at once, and order reaches it from outside: by positions, or by who may see "
        f"whom. A recurrent network reads them one by one and keeps a single vector of {D_STATE} numbers, its state. Each "
        "word changes the state that the words before it left, so the order is in the way the state was made. There is no "
        "position anywhere.",
        f"After “{' '.join(words)}” and “{' '.join(reversed(words))}” the states differ by up to {small(gaps[0])}. In "
        f"a network that adds the same words up they differ by {small(gaps[1])}. Asked which word stood first, the "
        f"recurrent one is right in {chance(right[0])} of sentences with a verb that it never saw, the other in "
        f"{chance(right[1])}.",
    )


def examples(lm: LM, verbs: Sequence[str]) -> Examples:
    """Every sentence of two different persons and one of the verbs."""
    table = lm.model.token.weight.detach()
    persons = [one_token(lm, person) for person in PERSONS]
    said = [(a, one_token(lm, verb), b) for verb in verbs for a, b in permutations(range(len(PERSONS)), 2)]
    rows = torch.tensor([[persons[a], verb, persons[b]] for a, verb, b in said])
    return Examples(F.normalize(table[rows].float(), dim=-1), torch.tensor([a for a, _, _ in said]))


def trained(network: Reader, known: Examples, held_out: Examples, num_steps: int) -> list[tuple[float, float]]:
    """Train a network in place. Returns (step, share of held-out sentences that it is right about), the last at the end."""
    leave_compiler_out()
    readings = {round(index * num_steps / NUM_READINGS) for index in range(NUM_READINGS)}
    found = []
    with torch.inference_mode(mode=False), torch.enable_grad():
        known = Examples(known.vectors.clone(), known.targets.clone())
        optimiser = AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
        for step in range(num_steps):
            if step in readings:
                found.append((float(step), correct(network, held_out)))
            loss = F.cross_entropy(network(known.vectors), known.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return [*found, (float(num_steps), correct(network, held_out))]


@torch.no_grad()
def correct(network: Reader, asked: Examples) -> float:
    """The share of sentences whose first word the network names."""
    return float((network(asked.vectors).argmax(-1) == asked.targets).double().mean())


@torch.no_grad()
def both(network: Reader, lm: LM, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The states of a sentence and of its reverse, each [position, 24]."""
    rows = torch.tensor([list(ids), list(reversed(ids))])
    one, other = network.states(F.normalize(lm.model.token.weight.detach()[rows].float(), dim=-1))
    return one, other


def _pairs(states: tuple[Tensor, Tensor], ids: Sequence[int], words: Words) -> Pairs:
    one, other = states
    gaps = (one - other).abs().amax(-1).tolist()
    return Pairs(
        title="The state of the recurrent network after each word",
        caption="Left and right, from above: after one word, after two, after all three. At the end both have read "
        "the same words.",
        source="h(t)",
        heads=(_said(ids, words), _said(ids[::-1], words)),
        left=tuple(strip(words.text(i), state) for i, state in zip(ids, one, strict=True)),
        right=tuple(strip(words.text(i), state) for i, state in zip(reversed(ids), other, strict=True)),
        links=tuple(
            Link(
                left=place,
                right=place,
                text="equal" if gap <= EQUAL else f"differs {small(gap)}",
                is_equal=gap <= EQUAL,
            )
            for place, gap in enumerate(gaps)
        ),
        scale=spread(one, other),
    )


def _said(ids: Sequence[int], words: Words) -> str:
    return " ".join(words.text(i) for i in ids)


def _curve(curves: Sequence[Sequence[tuple[float, float]]]) -> Curve:
    return Curve(
        title="Which word stood first?",
        caption="The share of held-out sentences that are answered rightly, during training. Without order, half is the most.",
        source="say · h",
        x="step",
        y="right",
        lines=tuple(
            Line(label=label, points=tuple(points))
            for label, points in zip(("recurrent", "adding up"), curves, strict=True)
        ),
        is_share=True,
    )


def _bars(gaps: Sequence[float]) -> Bars:
    rows = zip(("recurrent", "adding up"), gaps, strict=True)
    return Bars(
        title="How far the two states lie apart at the end",
        caption="The largest difference of one number.",
        source="h(3)",
        rows=tuple(Bar(label=label, value=gap, text=small(gap)) for label, gap in rows),
        scale=max(gaps) or 1.0,
    )


ENTRY = Entry(
    name="recurrence",
    title="How does a recurrent network know order?",
    line="a small one trained while you wait, beside one that adds words up",
    check=need_words,
    settings=settings,
    show=show,
)
