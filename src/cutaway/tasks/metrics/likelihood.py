"""How likely texts are to a model. In: −log p in nats and UTF-8 bytes of each. Out: bits per byte."""

from __future__ import annotations

import math
from typing import Final

from .metric import Floats, Metric


def _bits_per_byte(sums: Floats, _: int = 1) -> Floats:
    return sums[..., 0] / (math.log(2) * sums[..., 1])


BITS_PER_BYTE: Final = Metric(
    name="bits_per_byte", num_statistics=2, value=_bits_per_byte, of_one=_bits_per_byte, is_loss=True
)
