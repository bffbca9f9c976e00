"""Adding noise to an image, and taking it off. In: images and a level. Out: noisier or cleaner images.

With x the image, ε normal noise and a(t) the share of x's power that is left at level t of T (Ho et al. 2020, eq. 4),

    x_t = √a(t) · x + √(1 − a(t)) · ε,    a(t) = cos²((t / T + s) / (1 + s) · π / 2) / cos²(s / (1 + s) · π / 2)

which is Nichol & Dhariwal 2021, eq. 17, with s = 0.008. A network that guesses ε from x_t guesses x with it, and a step from
level t to a lower one u keeps both guesses and mixes them as level u would be mixed (DDIM, Song et al. 2021, eq. 12):

    x̂ = (x_t − √(1 − a(t)) · ε̂) / √a(t),    x_u = √a(u) · x̂ + √(1 − a(u) − σ²) · ε̂ + σ · z

z is fresh noise, and σ = η · √((1 − a(u)) / (1 − a(t))) · √(1 − a(t) / a(u)): η = 0 adds none and is DDIM, η = 1 is DDPM.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_LEVELS = 200
OFFSET = 0.008
LEAST = 1e-4  # of a(t): the guess of x is divided by its root

Guess = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of taking noise off.

    level: before it; images: after it; guess: of the clean images, which led there. [batch, 64].
    """

    level: int
    images: Tensor
    guess: Tensor


def kept(levels: Tensor) -> Tensor:
    """a(t), the share of the image's power that is left. levels: of any shape, from 0 to NUM_LEVELS."""
    angle = (levels.double() / NUM_LEVELS + OFFSET) / (1 + OFFSET) * math.pi / 2
    start = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
    return (angle.cos().square() / start).clamp(LEAST, 1.0).float()


def add_noise(images: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """x_t. images, noise: [batch, 64]; levels: [batch]."""
    share = kept(levels).unsqueeze(-1)
    return share.sqrt() * images + (1 - share).sqrt() * noise


def take_off(guess: Guess, start: Tensor, num_steps: int, eta: float, generator: torch.Generator) -> list[Step]:
    """From noise to images, step by step.

    guess: (x_t [batch, 64], levels [batch]) -> ε̂ [batch, 64]. start: [batch, 64] of normal noise. num_steps: from 1 to
    NUM_LEVELS. eta: 0 adds no noise on the way, 1 as much as DDPM. generator: where that noise comes from.
    """
    levels = torch.linspace(NUM_LEVELS, 0, num_steps + 1).round().long().tolist()
    images, steps = start, []
    for level, lower in itertools.pairwise(levels):
        images, clean = _step(guess, images, level, lower, eta, generator)
        steps.append(Step(level, images, clean))
    return steps


def _step(
    guess: Guess, images: Tensor, level: int, lower: int, eta: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One step: (x_u, x̂), both [batch, 64]. x̂ is held to what an image can be, and ε̂ follows from it."""
    now, then = kept(torch.tensor(level)), kept(torch.tensor(lower))
    noise = guess(images, torch.full((len(images),), level))
    clean = ((images - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-1, 1)
    noise = (images - now.sqrt() * clean) / (1 - now).sqrt()
    sigma = eta * ((1 - then) / (1 - now)).sqrt() * (1 - now / then).sqrt()
    fresh = torch.randn(images.shape, generator=generator)
    return then.sqrt() * clean + (1 - then - sigma.square()).clamp_min(0).sqrt() * noise + sigma * fresh, clean
