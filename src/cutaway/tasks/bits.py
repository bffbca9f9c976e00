"""What fewer bits cost a model. In: a model and a text. Out: bits per byte before and after, and what follows from it.

A model runs in 8 bits by itself (`generate`, `chat`) where two facts say so: its bits per byte, measured on a text or on replies
and kept beside its weights, rise by at most half a percent; and the native products run on this processor. The rise is the same
on every processor: all multiply the same whole numbers. A model without such a record runs in full precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CutawayError
from ..finding import find
from ..lm import LM
from ..runtime.quantise import FULL, quantise
from ..runtime.quantised.kernels import integers
from ..weights.adapter_settings import is_adapter
from ..weights.atomic import add_file
from ..weights.files import read_json
from .evaluate import Evaluation

RECORD = "bits.json"
SHOULD_BE = 8  # bits, where that costs little
MOST_RISE = 0.005  # of bits per byte


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model says of a text in full precision, and in `bits`."""

    bits: int
    full: Evaluation
    fewer: Evaluation

    @property
    def rise(self) -> float:
        """By what share the bits per byte rise; below 0 where they fall."""
        return self.fewer.bits_per_byte / self.full.bits_per_byte - 1

    @property
    def is_small(self) -> bool:
        """Whether the model may run in so few bits by itself."""
        return self.bits == SHOULD_BE and self.rise <= MOST_RISE


def measure_cost(lm: LM, bits: int, measured: Callable[[LM], Evaluation]) -> Cost:
    """Score a text, or replies, in full precision; then quantise the model, which stays so, and score it again.

    measured: `evaluate` or `predict_replies`, of a file. Raises CutawayError as they and `quantise` do.
    """
    full = measured(lm)
    quantise(lm.model, bits)
    return Cost(bits=bits, full=full, fewer=measured(lm))


def keep_cost(lm: LM, cost: Cost, text: str) -> Path:
    """Write what was measured beside the model's weights; an older record of other bits stays. text: its name.

    Raises CutawayError as `check_keeps` does, and if the system refuses.
    """
    place = check_keeps(lm)
    known = read_json(place / RECORD) if (place / RECORD).is_file() else {}
    known[str(cost.bits)] = {
        "text": text,
        "tokens": cost.full.tokens,
        "bits_per_byte": cost.fewer.bits_per_byte,
        "in_full_precision": cost.full.bits_per_byte,
    }
    add_file(place, RECORD, (json.dumps(known, indent=1) + "\n").encode())
    return place / RECORD


def check_keeps(lm: LM) -> Path:
    """The directory of a model. Raises CutawayError for one that lies in none: nothing can be kept beside its weights."""
    if lm.place is None or not lm.place.is_dir():
        raise CutawayError(f"'{lm.name}' lies in no directory of its own, so nothing can be kept beside its weights.")
    return lm.place


def usual_bits(name: str) -> int:
    """In how many bits `generate` and `chat` run a model when nobody says: 8 where that was measured to cost little, else 32.

    Raises CutawayError for a record that cannot be read, and for what is no model.
    """
    place = find(name)
    if is_adapter(place) or not (place / RECORD).is_file() or isinstance(integers(), str):
        return FULL
    fact = read_json(place / RECORD).get(str(SHOULD_BE))
    if fact is None:
        return FULL
    try:
        before, after = float(fact["in_full_precision"]), float(fact["bits_per_byte"])
    except (TypeError, KeyError, ValueError) as error:
        raise CutawayError(
            f"{place / RECORD} holds no figures of {SHOULD_BE} bits. Delete it, or measure again: cutaway evaluate {name} FILE "
            f"--bits {SHOULD_BE} --keep"
        ) from error
    return SHOULD_BE if after <= before * (1 + MOST_RISE) else FULL
