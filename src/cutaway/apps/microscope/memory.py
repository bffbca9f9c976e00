"""Bytes moved for each token. In: a model's config, bits, a cache or none, a batch, a context. Out: the bytes, part by part.

A generated token reads every weight that it uses once, whatever the batch, and the keys and values of all before it (cost.py).
Without a cache, the whole text is run again for each token: nothing is cached, and the activations are those of every token.
Layers with a window read no more than it, and hold a margin more (runtime/stores.py).

    per token = weights ÷ batch + cache + activations,   tokens a second ≤ bandwidth ÷ per token

Activations: every tensor that a pass taps, but for scores and weights of attention, which a fused kernel does not write, is
written once and read once, in 4 bytes.
"""

from __future__ import annotations

import math
from typing import Any

from ...config import ModelConfig
from ...cost import (
    MARGIN,
    bytes_of_cached_value,
    bytes_per_weight,
    cache_bytes,
    flops_per_token,
    memory_bytes,
    used_weights,
)
from ...errors import CutawayError
from ...lens.sites import sites
from .asks import AskMemory

BITS = {"bits": (32, 16, 8, 4), "cache_bits": (32, 16, 8)}
MOST_CONTEXT, MOST_BATCH = 2**20, 4096


def memory_of(
    config: ModelConfig, ask: AskMemory, bandwidth: float, processor_cache: int | None = None
) -> dict[str, Any]:
    """The answer. bandwidth: bytes a second. processor_cache: bytes, None where the system does not tell them.

    Raises CutawayError for settings outside of what is allowed.
    """
    _check(config, ask)
    context, size = ask.context or config.context, bytes_per_weight(ask.bits)
    used = {name: count * size for name, count in vars(used_weights(config)).items()}
    weights = used_weights(config).total * size
    source, kept = (
        context if config.has_cross else 0,
        bytes_of_cached_value(config, ask.cache_bits or max(16, ask.bits)),
    )
    cached = cache_bytes(config, context, kept, num_source=source, margin=0) if ask.cache else 0.0
    stored = cache_bytes(config, context, kept, num_source=source, margin=MARGIN) if ask.cache else 0.0
    written = cache_bytes(config, 1, kept) if ask.cache else 0.0
    activations = 2 * 4 * activation_numbers(config) * (1 if ask.cache else context)
    parts = {
        **{f"weights: {name}": count / ask.batch for name, count in used.items() if count},
        "cache, read": cached,
        "cache, written": written,
        "activations": activations,
    }
    per_token = weights / ask.batch + cached + written + activations
    read = weights + ask.batch * (cached + written)  # of one pass
    return {
        "weights": weights,
        "cache": cached + written,
        "activations": activations,
        "per_token": per_token,
        "bandwidth": bandwidth,
        "tokens_per_second": bandwidth / per_token,
        "parts": [{"name": name, "bytes": count} for name, count in parts.items() if count],
        "held": {"weights": memory_bytes(config, size), "cache": ask.batch * (stored + written)},
        "context": context,
        "processor_cache": processor_cache,
        "fits_cache": processor_cache is not None and read <= processor_cache,
    }


def arithmetic_of(config: ModelConfig, ask: AskMemory, peak: float) -> dict[str, Any]:
    """What a token takes beside the bytes: operations of one text's token, and how many this machine does in a second (peak).

    Without a cache every token of the text is run again, each counted as the last one, which meets the most keys.
    """
    context = ask.context or config.context
    operations = flops_per_token(config, context) * (1 if ask.cache else context)
    return {"operations": operations, "peak": peak, "num_layers": config.main.num_layers}


def activation_numbers(config: ModelConfig) -> int:
    """Numbers that a pass over one token of the last stack hands from layer to layer."""
    found = sites(config, 1, 1, source=1 if config.has_cross else 0)
    inside = [site for site in found if not site.name.startswith("encoder.") and not _is_fused(site.name)]
    return sum(math.prod(site.shape) for site in inside)


def _is_fused(name: str) -> bool:
    return name.endswith((".scores", ".weights", "cross.key", "cross.value"))


def _check(config: ModelConfig, ask: AskMemory) -> None:
    if config.decoder is None:
        raise CutawayError("This model has an encoder only: it generates no tokens, and moves no bytes for them.")
    for name, bits in (("bits", ask.bits), ("cache_bits", ask.cache_bits)):
        if bits is not None and bits not in BITS[name]:
            raise CutawayError(f"{name} is {bits}. Allowed: {', '.join(map(str, BITS[name]))}.")
    for name, value, most in (("batch", ask.batch, MOST_BATCH), ("context", ask.context, MOST_CONTEXT)):
        if value is not None and not 1 <= value <= most:
            raise CutawayError(f"{name} is {value}. It is from 1 to {most:,}.")
