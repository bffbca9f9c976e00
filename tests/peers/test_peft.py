"""Adapters and PEFT, both ways: theirs open here, ours open there, and the logits are the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel

from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import adapters, merge
from cutaway.weights import checkpoint
from cutaway.weights.adapters import load_adapter, save_adapter
from tests import tiny
from tests.weights import theirs as their_models
from tests.weights.adapter_files import trained
from tests.weights.test_decoders import CASES, EAGER, theirs
from tests.weights.test_gpt2 import theirs as their_gpt2

if importlib.util.find_spec("peft") is None:
    pytest.skip("PEFT is not installed: make test-peers", allow_module_level=True)

KINDS = ("UserWarning", "FutureWarning", "RuntimeWarning")  # of PEFT about itself
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]
FAMILIES = {name: knobs for name, knobs in reversed(CASES) if name not in ("Mixtral", "Qwen3Moe")}
EXPERTS = {name: knobs for name, knobs in reversed(CASES) if name in ("Mixtral", "Qwen3Moe")}
IDS = tiny.ids(2, 13)
SMALL = {"vocab_size": tiny.VOCAB, "d_model": 16, "pad_token_id": 0}
T5 = {**SMALL, "d_kv": 5, "d_ff": 24, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0}
SIDE = {"layers": 2, "attention_heads": 4, "ffn_dim": 24}
BART = {**SMALL, "max_position_embeddings": 40, "decoder_start_token_id": 2} | {
    f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in SIDE.items()
}
BERT = {"vocab_size": tiny.VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}


def with_peft(model: PreTrainedModel, place: Path, targets: Any = "all-linear", **knobs: Any) -> Any:
    """Their model with an adapter of theirs, A and B random; model and adapter are saved in `place`."""
    import peft

    model.save_pretrained(place / "base")
    usual = {"r": 3, "lora_alpha": 5, "target_modules": targets, "init_lora_weights": False}
    made = peft.get_peft_model(model, peft.LoraConfig(**{**usual, **knobs})).eval()
    made.save_pretrained(place / "theirs")
    return made


def opened_by_peft(kind: Any, place: Path, name: str) -> Any:
    """Their model with the adapter of a directory; nothing of it may be left over."""
    import peft

    made = peft.PeftModel.from_pretrained(kind.from_pretrained(place / "base", **EAGER), place / name)
    held = dict(made.named_parameters())
    ours = [tensor for key, tensor in held.items() if "lora_" in key]
    assert ours
    assert all(bool(tensor.isfinite().all()) for tensor in ours)
    return made.eval()


@torch.inference_mode()
def logits(model: Transformer) -> Tensor:
    """Ours."""
    if model.config.has_cross:
        memory = model.encode(IDS, Call(visibility.full(13)))
        return model(IDS, Call(visibility.causal(13), memory=memory))
    return model(IDS, Call(visibility.full(13) if model.config.sees_ahead else visibility.causal(13)))


@torch.inference_mode()
def reference(model: Any) -> Tensor:
    """Theirs."""
    if model.config.is_encoder_decoder:
        return model(input_ids=IDS, decoder_input_ids=IDS).logits
    return model(input_ids=IDS).logits


def assert_theirs_opens(made: Any, place: Path) -> Transformer:
    """PEFT's directory on our model: the logits of PEFT, before and after merging; saved by us, the same again there."""
    ours, plain = checkpoint.load(place / "base"), checkpoint.load(place / "base")
    load_adapter(place / "theirs", ours)
    wanted = reference(made)
    tiny.assert_close(logits(ours), wanted)
    assert (logits(plain) - wanted).abs().max() > 0.01, "an adapter that changes nothing proves nothing"
    save_adapter(place / "ours", ours, base=str(place / "base"))
    merge(ours)
    tiny.assert_close(logits(ours), wanted)
    return ours


def assert_ours_opens(kind: Any, place: Path, *targets: str, **knobs: Any) -> None:
    """An adapter of ours, with an A for each projection, in PEFT on their model."""
    ours = trained(checkpoint.load(place / "base"), *targets, **knobs)
    save_adapter(place / "own", ours, base=str(place / "base"))
    tiny.assert_close(reference(opened_by_peft(kind, place, "own")), logits(ours))


@pytest.mark.parametrize("name", FAMILIES)
def test_decoders(name: str, tmp_path: Path) -> None:
    made = with_peft(theirs(name, FAMILIES[name]), tmp_path)
    assert_theirs_opens(made, tmp_path)
    again = opened_by_peft(AutoModelForCausalLM, tmp_path, "ours")
    tiny.assert_close(reference(again), reference(made))
    assert_ours_opens(AutoModelForCausalLM, tmp_path, "*.layers.*")
    assert_ours_opens(AutoModelForCausalLM, tmp_path, "query", "*.layers.1.feedforward.input")


@pytest.mark.parametrize("is_stabilised", [False, True])
def test_gpt2_whose_matrices_are_turned_and_fused(is_stabilised: bool, tmp_path: Path) -> None:
    made = with_peft(their_gpt2(), tmp_path, use_rslora=is_stabilised, fan_in_fan_out=True)
    assert_theirs_opens(made, tmp_path)
    again = opened_by_peft(AutoModelForCausalLM, tmp_path, "ours")
    tiny.assert_close(reference(again), reference(made))
    for targets in (("*.layers.*",), ("query",), ("key", "value"), ("*.layers.1.*",)):
        assert_ours_opens(AutoModelForCausalLM, tmp_path, *targets, is_rank_stabilised=is_stabilised)


def test_a_head_tied_to_the_embedding(tmp_path: Path) -> None:
    made = with_peft(their_gpt2(), tmp_path, ["c_attn", "lm_head"])
    merged = assert_theirs_opens(made, tmp_path)
    assert not merged.config.is_tied
    assert_ours_opens(AutoModelForCausalLM, tmp_path, "head.projection", "value")


def test_ranks_and_alphas_of_their_own(tmp_path: Path) -> None:
    patterns = {
        "rank_pattern": {r"^transformer.h.1.attn.c_attn": 5, "c_fc": 2},
        "alpha_pattern": {r"h.\d+.mlp.c_fc": 9},
    }
    made = with_peft(their_gpt2(), tmp_path, **patterns)
    ours = assert_theirs_opens(made, tmp_path)
    load_adapter(tmp_path / "theirs", ours)
    assert {adapter.knobs.rank for adapter in adapters(ours).values()} == {2, 3, 5}
    tiny.assert_close(reference(opened_by_peft(AutoModelForCausalLM, tmp_path, "ours")), reference(made))


@pytest.mark.parametrize(
    "targets", [["*.attention.*"], ["*.experts.*"], ["*.router"], ["*.experts.1.input"], ["*.layers.1.*"]]
)
@pytest.mark.parametrize("name", EXPERTS)
def test_experts_go_to_peft(name: str, targets: list[str], tmp_path: Path) -> None:
    theirs(name, EXPERTS[name]).save_pretrained(tmp_path / "base")
    assert_ours_opens(AutoModelForCausalLM, tmp_path, *targets)


@pytest.mark.parametrize(
    ("kind", "auto", "knobs"),
    [
        ("T5", AutoModelForSeq2SeqLM, T5),
        ("T5", AutoModelForSeq2SeqLM, {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
        ("Bart", AutoModelForSeq2SeqLM, BART),
    ],
    ids=["t5", "t5 gated", "bart"],
)
def test_encoder_decoders(kind: str, auto: Any, knobs: dict[str, Any], tmp_path: Path) -> None:
    config = getattr(transformers, f"{kind}Config")(**knobs)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")
    made = with_peft(their_models.random(model, config, size=0.3), tmp_path)
    assert_theirs_opens(made, tmp_path)
    tiny.assert_close(reference(opened_by_peft(auto, tmp_path, "ours")), reference(made))
    assert_ours_opens(auto, tmp_path, "*.cross.*", "encoder.*.feedforward.output", "encoder.*.query")


def test_masked_language_models(tmp_path: Path) -> None:
    config = transformers.BertConfig(**BERT, intermediate_size=24, max_position_embeddings=40)
    made = with_peft(their_models.random(transformers.BertForMaskedLM, config, size=0.3), tmp_path)
    assert_theirs_opens(made, tmp_path)
    assert_ours_opens(AutoModelForMaskedLM, tmp_path, "query", "*.feedforward.*")


def test_training_there_goes_on_here(tmp_path: Path) -> None:
    """The gradients of A and B are theirs too."""
    made = with_peft(theirs("Llama", FAMILIES["Llama"]), tmp_path)
    ours = checkpoint.load(tmp_path / "base")
    load_adapter(tmp_path / "theirs", ours)
    made(input_ids=IDS).logits.square().mean().backward()
    ours(IDS, Call(visibility.causal(13))).square().mean().backward()
    found = adapters(ours)["decoder.layers.1.attention.sublayer.query"]
    module = made.base_model.model.model.layers[1].self_attn.q_proj
    for one, other in ((found.down, module.lora_A.default.weight), (found.up, module.lora_B.default.weight)):
        assert other.grad.abs().max() > 1e-3
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5 * other.grad.abs().max().item())


def test_what_peft_writes_beside_is_understood(tmp_path: Path) -> None:
    """Every key of its config is known here, and what is not plain is refused by name."""
    with_peft(their_gpt2(), tmp_path)
    keys = json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())
    assert keys["peft_type"] == "LORA"
    load_adapter(tmp_path / "theirs", checkpoint.load(tmp_path / "base"))
