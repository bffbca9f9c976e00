"""Decoder-only families against transformers, offline, on tiny random weights with odd sizes: both ways, cached, in batches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.weights import checkpoint
from cutaway.weights.families import FAMILIES
from tests import tiny
from tests.weights.hostile import edit_json

SIZES: dict[str, Any] = {
    "vocab_size": tiny.VOCAB,
    "hidden_size": 20,
    "intermediate_size": 37,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 48,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
USUAL = {key: value for key, value in SIZES.items() if key != "head_dim"} | {"hidden_size": 24}
PARALLEL = {key: value for key, value in USUAL.items() if key != "num_key_value_heads"} | {"hidden_size": 32}
EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2}
MANY_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 11}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 12,
}
YARN = {"rope_type": "yarn", "rope_theta": 700.0, "factor": 4.0, "original_max_position_embeddings": 12}
LINEAR = {"rope_type": "linear", "rope_theta": 900.0, "factor": 3.0}
MIXED = ["full_attention", "sliding_attention", "sliding_attention"]


def both(near: dict[str, Any], far: dict[str, Any]) -> dict[str, Any]:
    return {"rope_parameters": {"sliding_attention": near, "full_attention": far}}


EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
PLAIN = {"rope_type": "default", "rope_theta": 300.0}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Llama", SIZES),
    ("Llama", {**SIZES, "rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    ("Llama", {**USUAL, "rope_parameters": YARN, "attention_bias": True, "mlp_bias": True}),
    ("Llama", {**USUAL, "rope_parameters": LINEAR, "num_key_value_heads": 4, "hidden_act": "relu"}),
    ("Mistral", {**SIZES, "sliding_window": 5}),
    ("Mistral", {**SIZES, "sliding_window": None}),
    ("Mixtral", {**SIZES, **EXPERTS, "sliding_window": 5}),
    ("Mixtral", {**USUAL, **EXPERTS, "sliding_window": None}),
    ("Qwen2", USUAL),
    ("Qwen2", {**USUAL, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("Qwen3", SIZES),
    ("Qwen3", {**SIZES, "attention_bias": True, "use_sliding_window": True, "sliding_window": 4, "layer_types": MIXED}),
    ("Qwen3Moe", {**SIZES, **MANY_EXPERTS}),
    ("Qwen3Moe", {**SIZES, **MANY_EXPERTS, "norm_topk_prob": True, "num_experts_per_tok": 3}),
    ("Gemma", SIZES),
    ("Gemma2", {**SIZES, "sliding_window": 5, "query_pre_attn_scalar": 9}),
    ("Gemma2", {**SIZES, "sliding_window": 5, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("Gemma3", {**SIZES, "sliding_window": 5, "query_pre_attn_scalar": 9, "layer_types": MIXED, **both(PLAIN, LINEAR)}),
    ("Gemma3", {**SIZES, "num_hidden_layers": 7, "sliding_window": 5}),
    ("Phi3", USUAL),
    ("Phi3", {**USUAL, "sliding_window": 5, "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.7}}),
    ("Olmo2", USUAL),
    ("Olmo2", {**USUAL, "attention_bias": True}),
    ("Olmo3", {**USUAL, "num_hidden_layers": 5, "sliding_window": 5}),
    ("Olmo3", {**USUAL, "sliding_window": 5, "layer_types": MIXED, **both(PLAIN, {**YARN, "attention_factor": 1.2})}),
    ("SmolLM3", {**USUAL, "num_hidden_layers": 5}),
    (
        "SmolLM3",
        {**USUAL, "use_sliding_window": True, "sliding_window": 5, "no_rope_layers": [0, 1, 1], "layer_types": MIXED},
    ),
    ("GPTNeoX", PARALLEL),
    (
        "GPTNeoX",
        {
            **PARALLEL,
            "use_parallel_residual": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5},
        },
    ),
]
NAMES = [f"{name}-{index}" for index, (name, _) in enumerate(CASES)]


def theirs(name: str, knobs: dict[str, Any]) -> PreTrainedModel:
    """A random model of transformers; every weight random and large, so that equal logits say much."""
    torch.manual_seed(3)
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")(**copy.deepcopy(knobs))
    config._attn_implementation = config._experts_implementation = "eager"
    made: PreTrainedModel = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return made


def logits(model: Transformer, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids, Call(visibility.causal(ids.shape[1])))


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=NAMES)
def test_theirs_opens_in_ours_and_back(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    reference, ids = theirs(name, knobs), tiny.ids(2, 23)
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    with torch.inference_mode():
        wanted = reference(ids).logits
    tiny.assert_close(logits(ours, ids), wanted)

    checkpoint.save(tmp_path / "ours", ours)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", **EAGER).eval()
    with torch.inference_mode():
        tiny.assert_close(again(ids).logits, wanted)
    assert checkpoint.load(tmp_path / "ours").config == ours.config == checkpoint.read_config(tmp_path / "ours")
    one, other = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    if type(again) is type(reference):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=NAMES)
def test_a_cache_and_a_batch_change_no_answer(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    theirs(name, knobs).save_pretrained(tmp_path)
    ours, ids, lengths = checkpoint.load(tmp_path), tiny.ids(1, 14), [9, 14, 4]
    whole = logits(ours, ids)
    session = Session(ours)
    steps = [session.extend(ids[0, at : at + size].tolist(), "all") for at, size in ((0, 6), (6, 1), (7, 5), (12, 2))]
    tiny.assert_close(torch.cat([step.view(-1, tiny.VOCAB) for step in steps]).unsqueeze(0), whole)
    rows = [torch.cat([torch.zeros(14 - n, dtype=torch.long), ids[0, :n]]) for n in lengths]
    with torch.inference_mode():
        padded = ours(torch.stack(rows), Call(visibility.padded(lengths, 14, is_causal=True, left=True)))
    for row, length in enumerate(lengths):
        tiny.assert_close(padded[row, 14 - length :].unsqueeze(0), whole[:, :length])


@pytest.mark.parametrize("name", ["Llama", "Gemma3", "GPTNeoX"])
def test_greedy_text_is_theirs(name: str, tmp_path: Path) -> None:
    knobs = next(knobs for case, knobs in CASES if case == name)
    reference, prompt = theirs(name, {**knobs, "eos_token_id": None}), tiny.ids(1, 5)
    reference.save_pretrained(tmp_path)
    ours = checkpoint.load(tmp_path)
    mask = torch.ones_like(prompt)
    wanted = reference.generate(prompt, attention_mask=mask, max_new_tokens=25, do_sample=False)[0, 5:].tolist()
    decoder = autoregressive(Session(ours), prompt[0].tolist(), Sampling(temperature=0.0), max_tokens=25)
    assert [event.new for event in run(decoder) if event.new is not None] == wanted
    assert len(set(wanted)) > 3, "tokens that do not vary prove nothing"


def test_every_decoder_family_is_here() -> None:
    tested = {getattr(transformers, f"{name}ForCausalLM").__name__ for name, _ in CASES}
    known = {family.architecture for family in FAMILIES if family.architecture.endswith("ForCausalLM")}
    assert tested == known


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        (
            "Llama",
            "rope_parameters",
            {"rope_type": "dynamic", "factor": 2.0},
            "'rope_type' is 'dynamic'. It takes one of",
        ),
        ("Llama", "rope_parameters", {"rope_type": "linear", "factor": "two"}, "'factor' is 'two'. It takes a number"),
        ("Llama", "head_dim", 5, "Rotary positions turn pairs"),
        ("Llama", "num_key_value_heads", 3, "must divide evenly"),
        ("Mistral", "sliding_window", 0, "window is 0"),
        ("Qwen3", "layer_types", ["full_attention"], "a list of 3 names"),
        ("Qwen3Moe", "decoder_sparse_step", 2, "no knob"),
        ("Gemma3", "layer_types", ["full_attention", "local", "full_attention"], "each of sliding_attention"),
        ("SmolLM3", "no_rope_layers", [1, 2, 0], "each 0 or 1"),
        ("GPTNeoX", "num_attention_heads", 5, "does not divide d_model"),
    ],
)
def test_a_wrong_key_is_named(name: str, key: str, value: object, message: str, tmp_path: Path) -> None:
    knobs = next(knobs for case, knobs in CASES if case == name)
    theirs(name, {**knobs, "num_hidden_layers": 3}).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(tmp_path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)
