"""How fast a model writes on this machine, measured. In: a model, bits. Out: tokens a second, and where the time of one goes.

What `cutaway bench` measures, with fewer tokens: one text, with its cache, greedy. The model that is open stays as it is; in
fewer than 32 bits a copy of it is quantised, measured and let go.
"""

from __future__ import annotations

import copy
from typing import Any

from ...errors import CutawayError
from ...runtime.budget import bytes_left
from ...runtime.quantise import check_bits
from ...runtime.roofline import Machine
from ..bench.measure import measure
from .asks import AskSpeed
from .shelf import Opened

WRITTEN, TURNS = 16, 3
MOST_READ = 256  # tokens before, so that nobody waits long for a figure of writing


def speed_of(opened: Opened, ask: AskSpeed, machine: Machine) -> dict[str, Any]:
    """The answer. Raises CutawayError for bits that no weight has, a model that writes nothing, and a copy without memory."""
    check_bits(ask.bits)
    if ask.context is not None and ask.context < 1:
        raise CutawayError(f"context is {ask.context}. It is 1 or more tokens.")
    config = opened.lm.config
    written = max(1, min(WRITTEN, config.context // 4))
    read = max(1, min(ask.context or config.context, MOST_READ, config.context - written - 1))
    with opened.lock:
        model = opened.lm.model if ask.bits == 32 else _copy(opened)
        found = measure(model, machine, num_prompt=read, num_written=written, bits=ask.bits, repetitions=TURNS)
    decode = found.decode
    return {
        "bits": ask.bits,
        "context": found.context,
        "seconds": decode.seconds,
        "tokens_per_second": decode.tokens_per_second,
        "per_token": decode.num_bytes,
        "rate": decode.bandwidth,
        "bandwidth": machine.read,
        "share": decode.share(machine),
        "limit": decode.limit(machine),
        "fits_cache": found.fits_cache,
        "parts": [{"name": name, "seconds": seconds} for name, seconds in found.parts.items()],
    }


def _copy(opened: Opened) -> Any:
    needed, available = opened.num_bytes, bytes_left()
    if available is not None and needed > available:
        raise CutawayError(
            f"A copy in fewer bits begins with {needed / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available. "
            "Measure 32 bits, or end other programs."
        )
    return copy.deepcopy(opened.lm.model)
