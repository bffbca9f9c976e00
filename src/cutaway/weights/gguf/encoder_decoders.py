"""Encoder-decoders in GGUF files: T5. In: nothing. Out: its table (see architectures).

llama.cpp has T5's positions up to a distance of 128, relu or a gated GELU, and scales no logits (see restated).
"""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ...errors import CutawayError
from ..names import Rule
from .architecture import EMBEDDING, HEAD, Architecture
from .source import Source

DISTANCE, LAYERS = 128, "decoder_block_count"
GATE = "enc.blk.0.ffn_gate.weight"
RELATIVE = "relative_attention_bias.weight"


def _check(config: ModelConfig) -> None:
    encoder, decoder = config.encoder, config.main
    if encoder is not None and decoder.num_layers > encoder.num_layers:
        raise CutawayError(
            f"llama.cpp's t5 opens no model whose decoder has more layers than its encoder: they are {decoder.num_layers} and "
            f"{encoder.num_layers} here. Save it as a checkpoint directory."
        )


def _read(source: Source) -> dict[str, Any]:
    count = source.integer("block_count" if source.get(LAYERS) is None else LAYERS)
    if count > len(source.shapes):
        raise source.fault(LAYERS, f"at most the number of tensors, {len(source.shapes)}")
    return {
        "feed_forward_proj": "gated-gelu" if GATE in source.shapes else "relu",
        "num_decoder_layers": count,
        "scale_decoder_outputs": HEAD not in source.shapes,
    }


def _names(_: ModelConfig) -> tuple[Rule, ...]:
    return (
        Rule(EMBEDDING, ("shared.weight",)),
        Rule(HEAD, ("lm_head.weight",)),
        *_stack("enc", "encoder", {"attn": "0.SelfAttention", "ffn": "1.DenseReluDense"}),
        *_stack(
            "dec",
            "decoder",
            {"attn": "0.SelfAttention", "cross_attn": "1.EncDecAttention", "ffn": "2.DenseReluDense"},
        ),
    )


def _stack(short: str, name: str, sublayers: dict[str, str]) -> tuple[Rule, ...]:
    block, layer = f"{short}.blk.{{layer}}", f"{name}.block.{{layer}}.layer"
    rules = [
        Rule(f"{short}.output_norm.weight", (f"{name}.final_layer_norm.weight",)),
        Rule(f"{short}.blk.0.attn_rel_b.weight", (f"{name}.block.0.layer.0.SelfAttention.{RELATIVE}",)),
    ]
    for theirs, ours in sublayers.items():
        place = ours.partition(".")[0]
        rules.append(Rule(f"{block}.{theirs}_norm.weight", (f"{layer}.{place}.layer_norm.weight",)))
        parts = (
            {"gate": "wi_0", "up": "wi_1", "down": "wo"} if theirs == "ffn" else dict(zip("qkvo", "qkvo", strict=True))
        )
        rules += [
            Rule(f"{block}.{theirs}_{part}.weight", (f"{layer}.{ours}.{own}.weight",)) for part, own in parts.items()
        ]
    return (*rules, Rule(f"{block}.ffn_up.weight", (f"{layer}.{sublayers['ffn']}.wi.weight",)))


T5 = Architecture(
    name="t5",
    model_type="t5",
    keys={
        "context_length": "n_positions",
        "embedding_length": "d_model",
        "block_count": "num_layers",
        "feed_forward_length": "d_ff",
        "attention.head_count": "num_heads",
        "attention.key_length": "d_kv",
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
        "attention.relative_buckets_count": "relative_attention_num_buckets",
    },
    optional={
        LAYERS: "num_decoder_layers",
        "decoder_start_token_id": "decoder_start_token_id",
        "attention.value_length": "d_kv",
    },
    names=_names,
    fixed={"relative_attention_max_distance": DISTANCE},
    read=_read,
    check=_check,
    rotary=False,
    plain=(r"(enc|dec)\.blk\.0\.attn_rel_b\.weight",),
    ignored=(r"dec\.blk\.0\.cross_attn_rel_b\.weight",),
)
