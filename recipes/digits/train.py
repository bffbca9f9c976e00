"""Train the denoiser of the lesson on diffusion. In: the digits of the package. Out: its weights, in half precision.

    python recipes/digits/train.py --out src/cutaway/lessons/digits/denoiser.safetensors

It guesses the noise that was added to an image (Ho et al. 2020, eq. 14), at a level drawn anew for each, and is kept as the
moving average of its weights. One digit in ten is shown without its name. It takes about ten minutes on a core that has
nothing else to do.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway.lessons.digits.denoiser import ANY, Denoiser, num_weights
from cutaway.lessons.digits.images import Digits, nearest, read_digits
from cutaway.lessons.digits.noise import NUM_LEVELS, add_noise, take_off
from cutaway.runtime.kernels import accelerate
from cutaway.weights.tensor_file import write_tensors

BATCH, RATE, WARM, DECAY, CLIP = 96, 1.5e-3, 200, 0.998, 1.0
NAMELESS = 0.1
SEED = 1


def main() -> None:
    """Train, say how it goes, write the weights, and measure what they make."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    parser.add_argument("--steps", type=int, default=6000, help="of training (default 6000)")
    given = parser.parse_args()
    train_digits, held_out = read_digits()
    denoiser = train(train_digits, held_out, given.steps)
    write_tensors(given.out, {name: weight.half() for name, weight in denoiser.state_dict().items()}, {})
    print(f"{num_weights(denoiser):,} weights, {given.out.stat().st_size:,} bytes")
    measure(denoiser, train_digits)


def train(digits: Digits, held_out: Digits, num_steps: int) -> Denoiser:
    """The moving average of the weights after num_steps."""
    generator, started = torch.Generator().manual_seed(SEED), time.monotonic()
    denoiser = first_weights(Denoiser())
    accelerate(denoiser)
    average = copy.deepcopy(denoiser).requires_grad_(False)
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    for step in range(num_steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * step / num_steps))
        rows = torch.randint(len(digits), (BATCH,), generator=generator)
        loss = loss_of(denoiser, Digits(digits.pixels[rows], digits.labels[rows]), generator)
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad()
        for mean, weight in zip(average.parameters(), denoiser.parameters(), strict=True):
            mean.lerp_(weight.detach(), 1 - min(DECAY, step / (step + 10)))
        if step % 250 == 249:
            said = f"step {step + 1:>5}  {time.monotonic() - started:5.0f} s  loss {loss.item():.4f}"
            print(f"{said}  held out {held_out_loss(average, held_out):.4f}", flush=True)
    return average.eval()


def first_weights(denoiser: Denoiser) -> Denoiser:
    """Small normal matrices, and an output of zeros, so that the first guess is that there is no noise."""
    generator = torch.Generator().manual_seed(SEED)
    for name, weight in denoiser.named_parameters():
        if weight.ndim >= 2:
            nn.init.normal_(weight, std=0.08 if name.startswith(("enter", "level")) else 0.04, generator=generator)
        elif name.startswith(("enter", "level", "leave")):
            nn.init.zeros_(weight)
    nn.init.zeros_(denoiser.leave.weight)
    return denoiser


def loss_of(denoiser: nn.Module, digits: Digits, generator: torch.Generator) -> Tensor:
    """The mean squared error of the noise, at a level from 1 to NUM_LEVELS for each image."""
    levels = torch.randint(1, NUM_LEVELS + 1, (len(digits),), generator=generator)
    noise = torch.randn(digits.pixels.shape, generator=generator)
    is_nameless = torch.rand(len(digits), generator=generator) < NAMELESS
    labels = torch.where(is_nameless, ANY, digits.labels)
    found: Tensor = denoiser(add_noise(digits.pixels, noise, levels), levels, labels)
    return (found - noise).square().mean()


@torch.inference_mode()
def held_out_loss(denoiser: nn.Module, held_out: Digits) -> float:
    """The loss on the digits that were held out, always with the same noise."""
    return float(loss_of(denoiser, held_out, torch.Generator().manual_seed(SEED)))


@torch.inference_mode()
def measure(denoiser: nn.Module, known: Digits) -> None:
    """What 20 images of each digit are read as, and how far they are from the nearest real one."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.arange(10).repeat(20)
    start = torch.randn(len(labels), known.pixels.shape[1], generator=generator)
    for num_steps in (10, 25, 50):
        made = take_off(lambda x, t: denoiser(x, t, labels), start, num_steps, 0.0, generator)[-1].images
        distances, shown = nearest(made, known)
        print(f"{num_steps} steps: {(shown == labels).float().mean():.3f} as asked, distance {distances.mean():.3f}")


if __name__ == "__main__":
    main()
