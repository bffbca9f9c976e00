"""Handwritten digits of 8 × 8 pixels. In: the file beside this one. Out: images from −1 (paper) to 1 (ink), and what each shows.

The file is digits.csv.gz of scikit-learn: 1,797 rows of 64 whole numbers from 0 to 16 and the digit (Alpaydin & Kaynak 1998,
UCI Machine Learning Repository). SOURCE.md says where it comes from.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.resources import files

import torch
from torch import Tensor

SIDE, NUM_PIXELS, INK = 8, 64, 16
NUM_HELD_OUT = 297  # the last ones, by other writers than most: never trained on


@dataclass(frozen=True, slots=True)
class Digits:
    """pixels: [batch, 64] from −1 to 1, row by row from the top. labels: [batch], the digit of each."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def read_digits() -> tuple[Digits, Digits]:
    """The digits that a network may learn from, and those that were held out."""
    packed = files("cutaway.lessons.digits").joinpath("digits.csv.gz").read_bytes()
    lines = gzip.decompress(packed).decode("ascii").split()
    rows = torch.tensor([[int(number) for number in line.split(",")] for line in lines])
    pixels, labels = rows[:, :NUM_PIXELS].float() * 2 / INK - 1, rows[:, NUM_PIXELS]
    return Digits(pixels[:-NUM_HELD_OUT], labels[:-NUM_HELD_OUT]), Digits(
        pixels[-NUM_HELD_OUT:], labels[-NUM_HELD_OUT:]
    )


def nearest(pixels: Tensor, known: Digits) -> tuple[Tensor, Tensor]:
    """For each image the known one with the least distance: (the distances, what those show), both [batch].

    pixels: [batch, 64]. The distance is the root of the mean squared difference of the pixels.
    """
    distances = torch.cdist(pixels, known.pixels) / NUM_PIXELS**0.5
    least, index = distances.min(dim=1)
    return least, known.labels[index]
