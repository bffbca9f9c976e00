"""SmolLM3 (Bakouch et al. 2025), as transformers writes it: Llama's shape, in which every fourth layer has no positions."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from .fields import Fields
from .positions import FULL, SLIDING, layer_type_names, pattern_of, window_of
from .rotary_decoder import (
    OUTER,
    PRE_NORMS,
    RotaryFamily,
    heads,
    network,
    read_decoder,
    write_decoder,
)

EVERY = 4
TURNED, UNTURNED = {FULL: "full", SLIDING: "sliding"}, {FULL: "unturned", SLIDING: "sliding_unturned"}


def read(fields: Fields) -> dict[str, Any]:
    """config.json -> knobs. no_rope_layers: 1 for a layer with positions, 0 for one without."""
    count, bias = fields.integer("num_hidden_layers"), fields.boolean("attention_bias", False)
    every = fields.integer_or("no_rope_layer_interval", EVERY)
    turned = fields.data.get("no_rope_layers") or [int((layer + 1) % every != 0) for layer in range(count)]
    if not isinstance(turned, list) or len(turned) != count or any(flag not in (0, 1) for flag in turned):
        raise fields.fault("no_rope_layers", f"a list of {count} numbers, each 0 or 1")
    window = fields.integer("sliding_window") if fields.boolean("use_sliding_window", False) else None
    names = fields.data.get("layer_types") or [FULL if window is None or not flag else SLIDING for flag in turned]
    if not isinstance(names, list) or len(names) != count or any(name not in TURNED for name in names):
        raise fields.fault("layer_types", f"a list of {count} names, each of {', '.join(TURNED)}")
    still = {"position": {"kind": "none"}}
    kinds: dict[str, dict[str, Any]] = {
        "full": {},
        "sliding": {"window": window},
        "unturned": still,
        "sliding_unturned": {"window": window, **still},
    }
    pattern = [(TURNED if flag else UNTURNED)[name] for name, flag in zip(names, turned, strict=True)]
    decoder = {
        "attention": {"bias": bias, "output_bias": bias},
        "feedforward": {"bias": fields.boolean("mlp_bias", False)},
        **pattern_of(pattern, kinds),
    }
    return read_decoder(fields, decoder, base=2_000_000.0, is_tied=True)


def write(config: ModelConfig) -> dict[str, Any]:
    """A config -> config.json."""
    stack = config.main
    positions = stack.positions()
    return write_decoder(
        config,
        attention_bias=stack.attention.bias,
        mlp_bias=stack.feedforward.bias,
        no_rope_layers=[int(positions[stack.kind(layer)].kind != "none") for layer in range(stack.num_layers)],
        layer_types=layer_type_names(stack),
        use_sliding_window=window_of(stack) is not None,
        sliding_window=window_of(stack),
    )


SMOLLM3 = RotaryFamily(
    model_type="smollm3",
    title="SmolLM3",
    architecture="SmolLM3ForCausalLM",
    read=read,
    write=write,
    names=(*OUTER, *PRE_NORMS, *heads(), *network()),
)
