"""The network that guesses the noise in an image. In: noisy images, their level, the digit asked for. Out: the noise.

It is a stack of this project's own transformer. The image is cut into 16 patches of 2 × 2 pixels, which stand where a text has
tokens (Dosovitskiy et al. 2021); every patch sees every patch. A vector for the level of noise and one for the digit are
added to each (Ho et al. 2020 §4; Ho & Salimans 2022 for the digit that is sometimes left out, so that any can be asked for).

    W · patch + place + level + digit -> layers -> norm -> W · x = the noise in each patch
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import AttentionConfig, FeedForwardConfig, ModelConfig, PositionConfig, StackConfig
from ...model import Call, Transformer
from ...model.position import sinusoids
from ...model.projection import Projection
from ...model.visibility import full
from ...runtime.attend import fused
from ...weights.tensor_file import TensorFile
from .images import SIDE
from .noise import NUM_LEVELS

PATCH, NUM_PATCHES = 2, 16
ANY = 10  # the row of the digits' table that stands for no digit in particular
WEIGHTS = "denoiser.safetensors"
CONFIG = ModelConfig(
    vocab_size=1,
    context=NUM_PATCHES,
    encoder=StackConfig(
        num_layers=3,
        d_model=96,
        attention=AttentionConfig(num_heads=6),
        feedforward=FeedForwardConfig(d_hidden=288),
        position=PositionConfig(kind="none"),
    ),
    has_head=False,
)


class Denoiser(nn.Module):
    """The stack, and what leads into and out of it."""

    levels: Tensor

    def __init__(self, config: ModelConfig = CONFIG) -> None:
        super().__init__()
        width = config.main.d_model
        self.stack = Transformer(config).main
        self.stack.embedding = Given()  # type: ignore[assignment]
        self.enter, self.leave = Projection(PATCH**2, width, bias=True), Projection(width, PATCH**2, bias=True)
        self.place, self.digit = Rows(NUM_PATCHES, width), Rows(ANY + 1, width)
        self.level = Projection(width, width, bias=True)
        self.register_buffer("levels", sinusoids(NUM_LEVELS + 1, width), persistent=False)

    def forward(self, noisy: Tensor, levels: Tensor, labels: Tensor) -> Tensor:
        """noisy: [batch, 64]; levels: [batch], whole numbers; labels: [batch], digits or ANY -> the noise, [batch, 64]."""
        call = Call(full(NUM_PATCHES, device=noisy.device), attend=fused)
        about = F.silu(self.level(self.levels[levels], call)) + self.digit.weight[labels]
        x = self.enter(cut(noisy), call) + self.place.weight + about.unsqueeze(1)
        return join(self.leave(self.stack(x, call), call))


class Rows(nn.Module):
    """A table of learned vectors."""

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, width))


class Given(nn.Module):
    """In place of an embedding: the vectors are there already."""

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] itself."""
        return call.tap("embedding.sum", x)


def cut(images: Tensor) -> Tensor:
    """[batch, 64] -> [batch, position, 4]: the patches, row by row from the top."""
    side = SIDE // PATCH
    return images.unflatten(1, (side, PATCH, side, PATCH)).transpose(2, 3).flatten(3).flatten(1, 2)


def join(patches: Tensor) -> Tensor:
    """[batch, position, 4] -> [batch, 64]: `cut` undone."""
    side = SIDE // PATCH
    return patches.unflatten(1, (side, side)).unflatten(3, (PATCH, PATCH)).transpose(2, 3).flatten(1)


def load_denoiser(path: Path | None = None) -> Denoiser:
    """The trained network. path: of other weights; None: those that come with the package."""
    with as_file(files("cutaway.lessons.digits").joinpath(WEIGHTS)) as bundled, TensorFile(path or bundled) as file:
        weights = {name: file.read(name).float() for name in file.entries}
    made = Denoiser()
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)


def num_weights(denoiser: Denoiser) -> int:
    """How many learned numbers it has."""
    return sum(weight.numel() for weight in denoiser.parameters())


@torch.inference_mode()
def guess_noise(denoiser: Denoiser, noisy: Tensor, levels: Tensor, labels: Tensor) -> Tensor:
    """As `Denoiser.forward`, without gradients."""
    noise: Tensor = denoiser(noisy, levels, labels)
    return noise
