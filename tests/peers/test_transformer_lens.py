"""What TransformerLens sees in the same weights: every activation that both name, of every layer, is the same within 5e-5."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from cutaway.finding import bundled_models
from cutaway.lm import LM, load
from cutaway.text import train_tokenizer
from tests import tiny
from tests.weights.theirs import random

if importlib.util.find_spec("transformer_lens") is None:
    pytest.skip("TransformerLens is not installed: make test-peers", allow_module_level=True)

KINDS = ("UserWarning", "FutureWarning", "DeprecationWarning")  # of TransformerLens and what it needs, about themselves
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]
TOLERANCE, LEAST_SITES = 5e-5, 12
SIZES = {"vocab_size": tiny.VOCAB, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = transformers.GPT2Config(**SIZES, n_positions=40, n_embd=16, n_layer=3, n_head=4, n_inner=24)
LLAMA = transformers.LlamaConfig(
    **SIZES,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=False,
)
ENDS = {"embedding.token": "embed.hook_out", "output.norm": "ln_final.hook_out", "output.logits": "unembed.hook_out"}
TABLE = {"embedding.position": "pos_embed.hook_out"}
LAYER = {
    "residual.start": "hook_resid_pre",
    "attention.input": "ln1.hook_out",
    "attention.value": "attn.hook_v",
    "attention.scores": "attn.hook_attn_scores",
    "attention.weights": "attn.hook_pattern",
    "attention.mixed": "attn.hook_z",
    "attention.output": "hook_attn_out",
    "residual.middle": "hook_resid_mid",
    "feedforward.input": "ln2.hook_out",
    "feedforward.output": "hook_mlp_out",
    "residual.end": "hook_resid_post",
}
PLAIN = {"attention.query": "attn.hook_q", "attention.key": "attn.hook_k"}  # theirs are before the rotary turn
DENSE = {"feedforward.pre": "mlp.hook_pre", "feedforward.active": "mlp.hook_post"}
BY_HEAD = ("query", "key", "value", "mixed")


def seen_by_them(place: Path, ids: Tensor) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(place), device="cpu", dtype=torch.float32)
    with torch.inference_mode():
        return bridge.run_with_cache(ids)[1]


def assert_same(lm: LM, place: Path, ids: Tensor, layer_sites: dict[str, str], ends: dict[str, str]) -> None:
    """At every site of every layer. What is masked has a number of its own in each library, and no meaning."""
    theirs, ours = seen_by_them(place, ids), lm.trace(ids)
    assert len(layer_sites) + len(ends) >= LEAST_SITES
    pairs = dict(ends)
    for layer in range(lm.config.main.num_layers):
        pairs |= {f"layers.{layer}.{site}": f"blocks.{layer}.{hook}" for site, hook in layer_sites.items()}
    for site, hook in pairs.items():
        mine, other = ours[site], theirs[hook]
        if site.endswith(BY_HEAD):
            other = other.view(*mine.transpose(1, 2).shape).transpose(1, 2)
        if site.endswith("scores"):
            mine, other = (torch.tril(scores) for scores in (mine, other))
        assert mine.shape == other.shape, site
        assert mine.std() > 1e-3, f"{site} does not vary, so it proves nothing"
        assert mine.dtype == other.dtype == torch.float32, site
        gap = (mine - other).abs().max().item()
        assert gap <= TOLERANCE, f"{site}: max|Δ| is {gap:.1e}"


def test_the_bundled_model() -> None:
    place = bundled_models()["stories"]
    lm = load(place)
    ids = torch.tensor([lm.ids("The cat sat on the mat because it was tired.")])
    assert_same(lm, place, ids, LAYER | PLAIN | DENSE, ENDS | TABLE)


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["GPT-2", "Llama"])
def test_large_random_weights(config: Any, tmp_path: Path) -> None:
    kind = transformers.GPT2LMHeadModel if config is GPT2 else transformers.LlamaForCausalLM
    random(kind, config, size=0.3).save_pretrained(tmp_path)
    lm = load(tmp_path)
    train_tokenizer("byte", []).save(tmp_path)  # they ask for one, and read ids all the same
    sites, ends = (LAYER | PLAIN | DENSE, ENDS | TABLE) if config is GPT2 else (LAYER, ENDS)
    assert_same(lm, tmp_path, tiny.ids(2, 13), sites, ends)
