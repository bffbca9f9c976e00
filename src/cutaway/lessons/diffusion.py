"""What diffusion models do, and how they differ. In: a digit, a number of steps. Out: noise put on and taken off an image, and a
text written in drafts (`drafts`).

A diffusion model learns one thing: to guess the noise in something noisy. It makes an image by starting from noise alone and
taking a little of the guess off, many times (Ho et al. 2020; `digits.noise` has the equations). The network is this project's
transformer with patches of an image in place of tokens (`digits.denoiser`). A language model that writes from left to right
adds one token a pass and never comes back to it; here every pass changes every place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from ..lens.numerals import chance, number
from ..lm import LM
from . import drafts
from .digits.denoiser import ANY, Denoiser, guess_noise, load_denoiser, num_weights
from .digits.images import NUM_PIXELS, Digits, nearest, read_digits
from .digits.noise import NUM_LEVELS, Step, add_noise, kept, take_off
from .figures import Bar, Bars, Images, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_writer
from .settings import Setting, Settings, choice, real, whole

NAMES = tuple(str(digit) for digit in range(10))
COLUMNS = 7
NUM_EACH = 4  # images of each digit that are made for the check
LEAST = 0.7  # of them must be read as what was asked for
LEAST_MOVE = 0.02  # of a pixel, to count as changed: a hundredth of the way from paper to ink
OTHER = 10_000  # added to the seed of the noise that is put on, so that it is not the noise that an image is made from
PROMPT, NUM_TOKENS = "Once upon a time", 12
NUM_DRAFTED = 60  # tokens of the text that is drafted


@dataclass(frozen=True, slots=True)
class Made:
    """Images made for the check: NUM_EACH of every digit.

    last: [batch, 64]; labels: [batch], what was asked; steps: all of them.
    """

    last: Tensor
    labels: Tensor
    steps: list[Step]


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """What to make, in how many steps, with how much fresh noise."""
    return (
        choice("digit", "Digit", "3", (*NAMES, "any")),
        whole("steps", "Steps", 24, 1, NUM_LEVELS),
        real("eta", "Fresh noise on the way (0 DDIM, 1 DDPM)", 0, 0, 1),
        whole("seed", "Seed", 0, 0, 999),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model that continues no text: the lesson compares with one."""
    need_writer(lm)


def show(lm: LM, given: Settings) -> Shown:
    """Put noise on a real digit, make one from noise, and make some of every digit to be read."""
    digit, num_steps, eta, seed = given.text("digit"), given.whole("steps"), given.real("eta"), given.whole("seed")
    denoiser, (known, held_out) = load_denoiser(), read_digits()
    label = ANY if digit == "any" else int(digit)
    mine = make(denoiser, torch.tensor([label]), num_steps, eta, seed)
    made = make(denoiser, torch.arange(10).repeat_interleave(NUM_EACH), num_steps, eta, seed + 1)
    distances, shown = nearest(made.last, known)
    right = float((shown == made.labels).double().mean())
    moved = changed_places(mine.steps)
    changed, first = number(fmean(moved) * NUM_PIXELS, 0), tokens_changed(lm)
    text = drafts.drafted(drafts.drafter(lm), PROMPT, NUM_DRAFTED)
    return Shown(
        text=(*_said(denoiser, num_steps, changed), drafts.said(text)),
        figures=(
            _noised(held_out, label, seed),
            _made(mine.steps),
            _each(made),
            _differ(lm, changed, first, num_steps),
            _distances(distances, known, held_out),
            *drafts.figures(text),
        ),
        findings=(
            Finding(label="Read as the digit that was asked for", value=f"{chance(right)} of {len(shown)}"),
            Finding(label="Pixels changed in a step, on average", value=f"{changed} of {NUM_PIXELS}"),
            Finding(label="Distance to the nearest real digit", value=number(float(distances.mean()))),
            *drafts.findings(text),
        ),
        wrong=Check(
            claim="Images that cannot be read as the digits that were asked for.",
            threshold=f"fewer than {chance(LEAST)} whose nearest real digit is the one asked for; chance is 10 %",
            found=chance(right),
            holds=right >= LEAST,
        ),
        fair=f"{NUM_EACH} images of each digit were made from other noise than the one shown, none was left out, and "
        "they were read by comparison with real digits, not by a network that could share the denoiser's errors.",
    )


def _said(denoiser: Denoiser, num_steps: int, changed: str) -> tuple[str, ...]:
    """The text of the lesson."""
    return (
        "A diffusion model is trained on one task: given an image with noise in it, guess the noise. From noise "
        f"alone, it takes off a little of what it guesses, {num_steps} times here, and what is left becomes an image "
        f"that nobody drew. The network below has {num_weights(denoiser):,} weights and is a transformer: patches of "
        "the image stand where a text has tokens.",
        "A language model that writes from left to right adds one token in each pass and never changes it. Here each "
        f"pass changes {changed} of {NUM_PIXELS} pixels on average, sees all of them, and may take back what it did "
        "before. So the number of passes is free: choose 2 steps, or 100.",
    )


def make(denoiser: Denoiser, labels: Tensor, num_steps: int, eta: float, seed: int) -> Made:
    """Images from noise. labels: [batch], digits or ANY."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(labels), NUM_PIXELS, generator=generator)
    steps = take_off(lambda x, t: guess_noise(denoiser, x, t, labels), start, num_steps, eta, generator)
    return Made(steps[-1].images, labels, [Step(NUM_LEVELS, start, start), *steps])


def changed_places(steps: Sequence[Step]) -> list[float]:
    """For each step the share of pixels that it moved by more than LEAST_MOVE."""
    return [float(((one.images - other.images).abs() > LEAST_MOVE).double().mean()) for one, other in pairwise(steps)]


def tokens_changed(lm: LM) -> list[int]:
    """For each pass of the language model how many tokens of its text are new or other than before."""
    found, before = [], list[int]()
    for piece in lm.stream(PROMPT, max_tokens=NUM_TOKENS):
        if piece.event is not None and piece.event.is_final and piece.event.new is not None:
            after = [*before, piece.event.new]
            found.append(len(after) - sum(a == b for a, b in zip(after, before, strict=False)))
            before = after
    return found


def _noised(held_out: Digits, label: int, seed: int) -> Images:
    """A real digit with more and more noise."""
    rows = (held_out.labels == label).nonzero()[:, 0] if label != ANY else torch.arange(len(held_out))
    image = held_out.pixels[rows[seed % len(rows)]]
    noise = torch.randn(NUM_PIXELS, generator=torch.Generator().manual_seed(seed + OTHER))
    levels = torch.linspace(0, NUM_LEVELS, COLUMNS).round().long()
    noisy = add_noise(image.expand(COLUMNS, -1), noise.expand(COLUMNS, -1), levels)
    return Images(
        title="Noise is put on",
        caption="A real digit that was held out; a is the share of its power that is left.",
        source="√a · x + √(1 − a) · ε",
        rows=("noisy",),
        columns=tuple(f"a {number(float(kept(level)))}" for level in levels),
        values=(tuple(_inked(each) for each in noisy),),
    )


def _made(steps: Sequence[Step]) -> Images:
    """The image on its way out of the noise, and what the network takes it for at each point."""
    shown = sorted({round(index * (len(steps) - 1) / (COLUMNS - 1)) for index in range(COLUMNS)})
    guesses = [*(step.guess for step in steps[1:]), steps[-1].images]  # a step holds the guess that led to it
    return Images(
        title="Noise is taken off",
        caption="Above the image after some steps; below what the network guesses the end to be, from there.",
        source="x_t and its guess of x",
        rows=("image", "guess"),
        columns=tuple(f"step {index}" for index in shown),
        values=(tuple(_inked(steps[i].images[0]) for i in shown), tuple(_inked(guesses[i][0]) for i in shown)),
    )


def _each(made: Made) -> Images:
    """One image of every digit, made in the same number of steps."""
    return Images(
        title="One of each, none left out",
        caption="Made from other noise, each asked for by its digit.",
        source="x_0",
        rows=("made",),
        columns=NAMES,
        values=(tuple(_inked(each) for each in made.last[::NUM_EACH]),),
    )


def _differ(lm: LM, changed: str, first: Sequence[int], num_steps: int) -> Table:
    return Table(
        title="How they differ",
        caption=f"Measured on {lm.name}, {len(first)} tokens, and on the image above.",
        source="the events of both",
        heads=("", "from left to right", "diffusion"),
        rows=(
            ("makes", f"{len(first)} tokens", f"{NUM_PIXELS} pixels"),
            ("in passes", f"{len(first)}, one for each token", f"{num_steps}, as chosen"),
            ("changes in a pass", f"{number(fmean(first or [0]), 0)} token, the next", f"{changed} pixels, anywhere"),
            ("sees in a pass", "what came before", "all places"),
            ("takes back", "nothing", "anything, until the last step"),
            ("learned", "the next token", "the noise"),
        ),
    )


def _distances(made: Tensor, known: Digits, held_out: Digits) -> Bars:
    """How near the made images are to real ones, beside real ones that were held out."""
    real = nearest(held_out.pixels, known)[0]
    rows = {"made here": float(made.mean()), "real, held out": float(real.mean())}
    return Bars(
        title="Is it a copy?",
        caption="The distance to the nearest image that it was trained on. Copies would have 0.",
        source="root mean square of the pixels' differences",
        rows=tuple(Bar(label=name, value=value, text=number(value)) for name, value in rows.items()),
        scale=max(*rows.values(), 0.01),
    )


def _inked(pixels: Tensor) -> tuple[float, ...]:
    """−1 to 1 -> 0 to 1, what lies beyond cut."""
    return tuple(((pixels + 1) / 2).clamp(0, 1).tolist())


ENTRY = Entry(
    name="diffusion",
    title="What do diffusion models do?",
    line="an 8 × 8 digit made from noise, and a text from drafts, step by step",
    check=check,
    settings=settings,
    show=show,
)
