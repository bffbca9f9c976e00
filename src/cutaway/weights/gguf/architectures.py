"""Whose tensor and key is called what. In: the metadata of a file, or a config.json. Out: the other one, and a name table.

An architecture of llama.cpp is a table: which keys of a file are which keys of the config.json of one of our families, and
which name in a file is which name in that family's checkpoint, with the layout between them. Names and layouts follow
llama.cpp's conversion/*.py and src/models/*.cpp. To add one: a table here, and its name in ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...config import ModelConfig
from ..layout import TRANSPOSED, Word
from ..names import Rule, affine

BLOCK = "blk.{layer}"
Names = Callable[[ModelConfig], tuple[Rule, ...]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture of llama.cpp.

    name: what a file calls it. model_type: the family that holds it. keys: key of a file, behind "name.", -> key of
    config.json; optional: those that a file may leave out. fixed: keys of config.json whose value llama.cpp knows by the name
    alone, so that no file says it. names: name in a file <- name in a checkpoint of the family. plain: tensors that stay
    fp32 in every file, besides vectors.
    """

    name: str
    model_type: str
    keys: Mapping[str, str]
    names: Names
    optional: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    plain: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def _both(theirs: str, ours: str, *layout: Word) -> tuple[Rule, Rule]:
    return affine(theirs, ours, layout=layout)


def _gpt2_names(config: ModelConfig) -> tuple[Rule, ...]:  # noqa: ARG001 (every size has the same)
    layer = "transformer.h.{layer}"
    return (
        Rule("token_embd.weight", ("transformer.wte.weight",)),
        Rule("position_embd.weight", ("transformer.wpe.weight",)),
        *_both(f"{BLOCK}.attn_norm", f"{layer}.ln_1"),
        *_both(f"{BLOCK}.attn_qkv", f"{layer}.attn.c_attn", TRANSPOSED),
        *_both(f"{BLOCK}.attn_output", f"{layer}.attn.c_proj", TRANSPOSED),
        *_both(f"{BLOCK}.ffn_norm", f"{layer}.ln_2"),
        *_both(f"{BLOCK}.ffn_up", f"{layer}.mlp.c_fc", TRANSPOSED),
        *_both(f"{BLOCK}.ffn_down", f"{layer}.mlp.c_proj", TRANSPOSED),
        *_both("output_norm", "transformer.ln_f"),
        Rule("output.weight", ("lm_head.weight",)),
    )


GPT2 = Architecture(
    name="gpt2",
    model_type="gpt2",
    keys={
        "context_length": "n_positions",
        "embedding_length": "n_embd",
        "block_count": "n_layer",
        "feed_forward_length": "n_inner",
        "attention.head_count": "n_head",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    names=_gpt2_names,
    fixed={"activation_function": "gelu_new", "scale_attn_weights": True},
    plain=("position_embd.weight",),
    ignored=(r"blk\.\d+\.attn\.(bias|masked_bias)",),
)

ARCHITECTURES = (GPT2,)
