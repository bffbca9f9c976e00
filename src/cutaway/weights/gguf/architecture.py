"""What is said of one architecture of llama.cpp, and the parts of a table that several have in common.

In: nothing. Out: the type of a table (see architectures), and keys and names that most rotary decoders share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...config import ModelConfig
from ..layout import Word
from ..names import Rule, affine
from .layouts import ONE_ADDED, STACKED, PairedRows
from .source import Source

BLOCK, LAYER = "blk.{layer}", "model.layers.{layer}"
HEAD, EMBEDDING = "output.weight", "token_embd.weight"
ROUTERS = r"blk\.\d+\.ffn_gate_inp\.weight"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture of llama.cpp.

    name: what a file calls it. model_type: the family that holds it. keys: key of a file, behind "name.", -> key of
    config.json; optional: those that a file may leave out. fixed: keys of config.json that llama.cpp knows by the name alone,
    so that no file says them. present: key of config.json -> the tensor that is there where it is true. read, write: what no
    table says; whole: keys to write that no architecture's name stands before. check: raises CutawayError for a config that
    differs in more than one knob can say. names: name in a file <- name in a checkpoint of the family. rotary: whether keys of
    rotary positions are there; factors: and a tensor that stretches them. plain: patterns of matrices that stay as they are in
    every file; exact: that are fp32 in every file. is_mixture, has_windows: whether this is the one with experts, or with
    windows, of two of the same name.
    """

    name: str
    model_type: str
    keys: Mapping[str, str]
    names: Callable[[ModelConfig], tuple[Rule, ...]]
    optional: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    present: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Source], dict[str, Any]] = lambda _: {}
    write: Callable[[ModelConfig], dict[str, Any]] = lambda _: {}
    whole: Callable[[ModelConfig], dict[str, Any]] = lambda _: {}
    check: Callable[[ModelConfig], None] = lambda _: None
    rotary: bool = True
    factors: bool = False
    plain: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    is_mixture: bool = False
    has_windows: bool = False


SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
KEYS = {**SIZES, "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
HEADS = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
}
PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
INNER_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
SANDWICH_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **INNER_NORMS}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
OUTER = {EMBEDDING: "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", HEAD: "lm_head.weight"}


def block_rules(norms: Mapping[str, str], *, adds_one: bool = False) -> tuple[Rule, ...]:
    """The rules of embedding, head and norms. adds_one: whether norms are stored with the 1 that belongs to them."""
    layout = (ONE_ADDED,) if adds_one else ()
    outer = (Rule(theirs, (ours,), layout if "norm" in theirs else ()) for theirs, ours in OUTER.items())
    inner = (Rule(f"{BLOCK}.{theirs}.weight", (f"{LAYER}.{ours}.weight",), layout) for theirs, ours in norms.items())
    return (*outer, *inner)


def head_rules(config: ModelConfig, *, are_paired: bool = False) -> tuple[Rule, ...]:
    """The four projections of attention. are_paired: whether the rows of a rotary pair are neighbours in the file."""
    knobs = config.main.attention
    turned: dict[str, tuple[Word, ...]] = {}
    if are_paired:
        turned = {"q": (PairedRows(knobs.num_heads),), "k": (PairedRows(knobs.kv_heads),)}
    pairs = (("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v"), ("attn_output", "o"))
    rules = (
        affine(f"{BLOCK}.{theirs}", f"{LAYER}.self_attn.{ours}_proj", layout=turned.get(ours, ()))
        for theirs, ours in pairs
    )
    return tuple(rule for pair in rules for rule in pair)


def network_rules() -> tuple[Rule, ...]:
    """The three projections of a gated feed-forward layer."""
    rules = (affine(f"{BLOCK}.ffn_{part}", f"{LAYER}.mlp.{part}_proj") for part in ("gate", "up", "down"))
    return tuple(rule for pair in rules for rule in pair)


def expert_rules(block: str, gate: str, up: str, down: str) -> tuple[Rule, ...]:
    """A router and the experts of a layer, one tensor for each projection of all."""
    experts = f"{LAYER}.{block}.experts.{{expert}}"
    parts = (("gate", gate), ("up", up), ("down", down))
    return (
        Rule(f"{BLOCK}.ffn_gate_inp.weight", (f"{LAYER}.{block}.gate.weight",)),
        *(
            Rule(f"{BLOCK}.ffn_{theirs}_exps.weight", (f"{experts}.{ours}.weight",), (STACKED,))
            for theirs, ours in parts
        ),
    )
