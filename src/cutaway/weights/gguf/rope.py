"""Rotary positions in a GGUF file. In: its keys, or a config. Out: `rope_parameters` of a config.json, or the keys.

llama.cpp knows the base, linear and YaRN stretching by keys, and Llama 3's as a tensor: by how much each frequency is divided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...config import StackConfig
from ...errors import CutawayError
from ...model.position import rotary_frequencies
from .source import Source

FACTORS = "rope_freqs.weight"
LOW, HIGH, USUAL_CONTEXT = 1.0, 4.0, 8192  # of Llama 3: no file says other ones
CLOSE = 1e-4


def read_rope(source: Source, d_head: int, *, has_factors: bool) -> dict[str, Any]:
    """`rope_parameters`. d_head: of one head. has_factors: whether the architecture heeds the tensor of factors."""
    d_rotated = source.integer("rope.dimension_count") if source.get("rope.dimension_count") is not None else d_head
    table: dict[str, Any] = {"rope_theta": source.number("rope.freq_base", 10_000.0)}
    if d_rotated != d_head:
        fraction = d_rotated / d_head
        table["partial_rotary_factor"] = (
            fraction if int(d_head * fraction) == d_rotated else math.nextafter(fraction, 2)
        )
    return {**table, **_scaling(source, d_rotated, table["rope_theta"], has_factors=has_factors)}


def write_rope(stack: StackConfig) -> dict[str, Any]:
    """The keys, behind the architecture's name."""
    position = stack.position
    keys: dict[str, Any] = {
        "rope.freq_base": position.base,
        "rope.dimension_count": int(stack.d_head * position.fraction),
    }
    scaling = position.scaling
    if scaling is None or scaling.kind == "llama3":
        return keys
    keys |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": scaling.factor}
    if scaling.kind == "linear":
        return keys
    return {
        **keys,
        "rope.scaling.original_context_length": scaling.original_context,
        "rope.scaling.yarn_beta_slow": scaling.low,
        "rope.scaling.yarn_beta_fast": scaling.high,
    }


def factors_of(stack: StackConfig) -> Tensor | None:
    """By how much each frequency is divided, [d_rotated / 2]; None where keys say it all."""
    position = stack.position
    if position.kind != "rotary" or position.scaling is None or position.scaling.kind != "llama3":
        return None
    d_rotated = int(stack.d_head * position.fraction)
    plain, _ = rotary_frequencies(d_rotated, replace(position, scaling=None))
    return plain / rotary_frequencies(d_rotated, position)[0]


def _scaling(source: Source, d_rotated: int, base: float, *, has_factors: bool) -> dict[str, Any]:
    if has_factors and FACTORS in source.shapes:
        return _fitted(source, d_rotated, base)
    kind = source.get("rope.scaling.type") or ("linear" if source.get("rope.scale_linear") else "none")
    factor = source.number("rope.scaling.factor", source.number("rope.scale_linear", 1.0))
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise source.fault("rope.scaling.type", "one of none, linear, yarn")
    table = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": source.integer("rope.scaling.original_context_length"),
        "beta_slow": source.number("rope.scaling.yarn_beta_slow", 1.0),
        "beta_fast": source.number("rope.scaling.yarn_beta_fast", 32.0),
    }
    more = source.number("rope.scaling.attn_factor", 1.0)  # on top of what the factor asks for
    usual = 0.1 * math.log(factor) + 1.0 if factor > 0 else 1.0
    return table if more == 1.0 else {**table, "attention_factor": more * usual}


def _fitted(source: Source, d_rotated: int, base: float) -> dict[str, Any]:
    """Llama 3's stretching, found from the factors that it led to. Raises CutawayError where it led to others."""
    if source.shapes[FACTORS] != (d_rotated // 2,):
        raise CutawayError(
            f"{source.place}: {FACTORS} has the shape {source.shapes[FACTORS]}, not ({d_rotated // 2},)."
        )
    factors = source.read(FACTORS).double()
    if bool((factors == 1).all()):
        return {"rope_type": "default"}
    factor = float(str(factors.max().float().item()))
    if not (math.isfinite(factor) and factor > 1.0 and base > 0 and bool((factors >= 1).all())):
        raise _unknown(source)
    for context in _contexts(factors, factor, d_rotated, base):
        table = {"factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH}
        if torch.allclose(_led_to(context, factor, d_rotated, base), factors, rtol=CLOSE):
            return {"rope_type": "llama3", **table, "original_max_position_embeddings": context}
    raise _unknown(source)


def _contexts(factors: Tensor, factor: float, d_rotated: int, base: float) -> Iterator[int]:
    """Original contexts that may have led to the factors: the usual one, those that a factor on the ramp tells, powers of 2."""
    yield USUAL_CONTEXT
    waves = 2 * math.pi * base ** (torch.arange(0, d_rotated, 2, dtype=torch.float64) / d_rotated)
    on_ramp = (factors > 1) & (factors < factor)
    kept = (1 / factors - 1 / factor) / (1 - 1 / factor)
    for context in (waves * (kept * (HIGH - LOW) + LOW))[on_ramp].tolist():
        yield round(min(max(context, 1.0), 1e9))
    yield from (2**power for power in range(2, 24))


def _led_to(context: int, factor: float, d_rotated: int, base: float) -> Tensor:
    plain = base ** (-torch.arange(0, d_rotated, 2, dtype=torch.float64) / d_rotated)
    kept = ((context * plain / (2 * math.pi) - LOW) / (HIGH - LOW)).clamp(0, 1)
    return 1 / (kept + (1 - kept) / factor)


def _unknown(source: Source) -> CutawayError:
    return CutawayError(
        f"{source.place}: {FACTORS} stretches positions in a way that Cutaway does not know (Llama 3's is known)."
    )
