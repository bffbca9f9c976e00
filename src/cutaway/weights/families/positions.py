"""Rotary positions and layer types in a config.json. In: its keys, old style or new. Out: our knobs, and the keys again.

New: `rope_parameters` {rope_theta, rope_type, …}, or one such table for each layer type. Old: `rope_theta`, `rope_scaling`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import PositionConfig, RotaryScaling, StackConfig
from .fields import Fields

TYPES = ("default", "linear", "llama3", "yarn")
SLIDING, FULL = "sliding_attention", "full_attention"
SHORT = {SLIDING: "sliding", FULL: "full"}


def read_rotary(
    fields: Fields, base: float, layer_type: str | None = None, *, is_partial: bool = False
) -> dict[str, Any]:
    """The knobs of `position`.

    base: where the config names none. layer_type: whose table it is, where each has its own. is_partial: whether the family
    can turn a part of each head.
    """
    table, where = fields.table("rope_parameters"), "rope_parameters"
    if table and all(isinstance(value, dict) for value in table.values()):
        table, where = table.get(layer_type or FULL, {}), f"rope_parameters.{layer_type or FULL}"
    if not table:
        table, where = fields.table("rope_scaling"), "rope_scaling"
    inner = Fields(table, f"{fields.where}, {where}")
    if not is_partial:
        inner.must_be(partial_rotary_factor=1.0)
    fraction = inner.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0))
    return {
        "kind": "rotary",
        "base": inner.number("rope_theta", fields.number("rope_theta", base)),
        "fraction": fraction if is_partial else 1.0,
        "scaling": _read_scaling(inner, fields.integer_or("max_position_embeddings", 8192)),
    }


def write_rotary(position: PositionConfig) -> dict[str, Any]:
    """`rope_parameters`, and beside it the keys that older programs look for."""
    table = _write_table(position)
    older = {} if position.scaling is None else {"rope_scaling": {**table, "type": table["rope_type"]}}
    return {"rope_parameters": table, "rope_theta": position.base, **older}


def write_rotaries(stack: StackConfig) -> dict[str, Any]:
    """`rope_parameters` of a stack whose layer types have their own."""
    tables = {SLIDING: _write_table(near_position(stack)), FULL: _write_table(stack.position)}
    return {"rope_parameters": tables}


def near_position(stack: StackConfig) -> PositionConfig:
    """The positions of the layers that slide: their own where they have some, else the stack's."""
    kinds = stack.layer_types.values()
    return next((kind.position for kind in kinds if kind.window and kind.position), stack.position)


def read_layer_types(fields: Fields, usual: Sequence[str], window: int | None, **knobs: Any) -> dict[str, Any]:
    """The knobs `layer_types` and `pattern`. usual: the type of each layer where the config names none; knobs: of `sliding`."""
    names = fields.data.get("layer_types")
    names = list(usual) if names is None else names
    if not isinstance(names, list) or len(names) != len(usual) or any(name not in SHORT for name in names):
        raise fields.fault("layer_types", f"a list of {len(usual)} names, each of {', '.join(SHORT)}")
    if window is None and SLIDING in names:
        raise fields.fault("sliding_window", "a whole number, for some layers slide")
    kinds = {"sliding": {"window": window, **knobs}, "full": {}}
    return pattern_of([SHORT[name] for name in names], kinds)


def every_layer(window: int | None) -> dict[str, Any]:
    """`layer_types` and `pattern` where all layers have one window, or none has."""
    return {} if window is None else pattern_of(["sliding"], {"sliding": {"window": window}})


def pattern_of(names: Sequence[str], kinds: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`layer_types` and the shortest `pattern` that gives these names, from the first layer on."""
    period = next(n for n in range(1, len(names) + 1) if all(name == names[i % n] for i, name in enumerate(names)))
    used = {name: knobs for name, knobs in kinds.items() if name in names}
    return {"layer_types": used, "pattern": list(names[:period])}


def layer_type_names(stack: StackConfig) -> list[str]:
    """The type of each layer, as config.json names it."""
    return [SLIDING if stack.layer_types[stack.kind(i)].window else FULL for i in range(stack.num_layers)]


def window_of(stack: StackConfig) -> int | None:
    """The window of the layers that slide; None where none does."""
    return next((kind.window for kind in stack.layer_types.values() if kind.window), None)


def _read_scaling(table: Fields, context: int) -> dict[str, Any] | None:
    kind = table.data.get("rope_type", table.data.get("type", "default"))
    if kind not in TYPES:
        key = "rope_type" if "rope_type" in table.data else "type"
        raise table.fault(key, f"one of {', '.join(TYPES)}")
    if kind == "default":
        return None
    knobs: dict[str, Any] = {"kind": kind, "factor": table.number("factor", 1.0)}
    if kind == "linear":
        return knobs
    knobs["original_context"] = table.integer_or("original_max_position_embeddings", context)
    if kind == "llama3":
        return {**knobs, "low": table.number("low_freq_factor", 1.0), "high": table.number("high_freq_factor", 4.0)}
    table.must_be(mscale=None, mscale_all_dim=None, truncate=True)
    if table.data.get("attention_factor") is not None:
        knobs["attention_factor"] = table.number("attention_factor", 1.0)
    return {**knobs, "low": table.number("beta_slow", 1.0), "high": table.number("beta_fast", 32.0)}


def _write_table(position: PositionConfig) -> dict[str, Any]:
    table: dict[str, Any] = {"rope_theta": position.base, "rope_type": "default"}
    if position.fraction != 1.0:
        table["partial_rotary_factor"] = position.fraction
    return table if position.scaling is None else {**table, **_write_scaling(position.scaling)}


def _write_scaling(scaling: RotaryScaling) -> dict[str, Any]:
    table: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return table
    table["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        return {**table, "low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
    if scaling.attention_factor is not None:
        table["attention_factor"] = scaling.attention_factor
    return {**table, "beta_slow": scaling.low, "beta_fast": scaling.high}
