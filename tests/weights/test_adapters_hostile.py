"""Adapters that are damaged, of another base, or of another kind: one message each, and the model stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.model.adapter import adapters
from cutaway.runtime.quantise import quantise
from cutaway.weights.adapters import load_adapter, save_adapter
from tests import tiny
from tests.weights.adapter_files import stored, trained, written
from tests.weights.hostile import edit_json
from tests.weights.test_adapters import BLOCK, fused, gpt2, random

FIRST = BLOCK.format(0)


def refused(path: Path, message: str) -> None:
    model = gpt2().requires_grad_(True)
    with pytest.raises(CutawayError, match=message) as caught:
        load_adapter(path, model)
    assert len(str(caught.value)) < 1200
    assert not adapters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_adapter_for_other_modules_is_refused(tmp_path: Path) -> None:
    tensors = {f"model.layers.{i}.self_attn.q_proj.{p}": random(2, 16) for i in range(9) for p in "AB"}
    path = written(tmp_path / "a", tensors, base_model_name_or_path="someone/llama")
    refused(path, r"no adapter for this model\. 9 not in it: model\.layers.*, and 4 more\..*made for 'someone/llama'")


def test_an_adapter_for_a_deeper_model_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path / "a", fused(3)), r"1 not in it: transformer.h.2.attn.c_attn\.")


def test_an_adapter_for_a_wider_model_is_refused(tmp_path: Path) -> None:
    wanted = r"4 of another size: .*c_attn.lora_A.weight is \[2, 20\] of torch.float32 and should be \[2, 16\]"
    refused(written(tmp_path / "a", fused(width=20)), wanted)


def test_a_rank_other_than_the_config_says_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path / "a", fused(rank=3)), r"is \[3, 16\] of torch.float32 and should be \[2, 16\]")


def test_half_an_adapter_is_refused(tmp_path: Path) -> None:
    tensors = fused()
    del tensors[f"{FIRST}.B"]
    refused(written(tmp_path / "a", tensors), rf"1 of another size: {FIRST}.lora_B.weight is missing")


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    tensors = {**fused(), f"{FIRST}.A": torch.ones(2, 16, dtype=torch.int64)}
    refused(written(tmp_path / "a", tensors), r"of torch.int64 and should be \[2, 16\] of floats")


def test_numbers_that_are_not_finite_are_refused_both_ways(tmp_path: Path) -> None:
    tensors = fused()
    tensors[f"{FIRST}.B"][3, 1] = torch.nan
    refused(written(tmp_path / "a", tensors), "lora_B.weight holds numbers that are not finite")
    model = trained(gpt2(), "query")
    adapters(model)["decoder.layers.0.attention.sublayer.query"].up.data[0, 0] = torch.inf
    with pytest.raises(CutawayError, match=r"not finite.*so nothing was saved"):
        save_adapter(tmp_path / "b", model)
    assert not (tmp_path / "b").exists()


def test_one_module_under_two_names_is_refused(tmp_path: Path) -> None:
    tensors = fused()
    tensors |= {name.removeprefix("transformer."): tensor.clone() for name, tensor in tensors.items()}
    refused(written(tmp_path / "a", tensors), "2 there twice: transformer.h.0.attn.c_attn")


def test_other_tensors_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {**fused(), "transformer.h.0.ln_1.A": random(2, 16)})
    refused(path, "1 not in it: transformer.h.0.ln_1")


def test_an_adapter_without_tensors_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path / "a", {}), "no lora_A and lora_B")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of the kind 'IA3'. Cutaway reads LORA"),
        ({"use_dora": True}, "use_dora is True, which Cutaway's adapters do not have"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"alora_invocation_tokens": [5]}, r"alora_invocation_tokens is \[5\]"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters is"),
        ({"something_new": 3}, "something_new is 3"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights is 'pissa_niter_4', which changed the weights of the base",
        ),
        ({"r": "8"}, "'r' is '8'. It takes a whole number"),
        ({"r": 0}, "a rank is 0"),
        ({"rank_pattern": {"c_attn": -1}}, "a rank is -1"),
        ({"rank_pattern": {"c_attn": 2.5}}, "the rank or alpha of 'c_attn' is 2.5"),
        ({"rank_pattern": ["c_attn"]}, "'rank_pattern' is .*It takes a table"),
        ({"alpha_pattern": {"(a+)+": 3}}, r"has the name '\(a\+\)\+'. Cutaway reads names of modules"),
        ({"alpha_pattern": {"c_attn": float("inf")}}, "an alpha is inf"),
        ({"lora_alpha": None}, "'lora_alpha' is 'None'. It takes a number"),
        ({"lora_dropout": 1.5}, "'lora_dropout' is '1.5'"),
        ({"use_rslora": "yes"}, "'use_rslora' is 'yes'. It takes true or false"),
    ],
)
def test_what_cutaway_does_not_compute_is_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    refused(written(tmp_path / "a", fused(), **keys), message)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"peft_type": "LORA"}'])
def test_a_damaged_config_is_refused(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a", fused())
    (path / "adapter_config.json").write_bytes(content)
    refused(path, "adapter_config.json")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", fused())
    whole = (path / "adapter_model.safetensors").read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        (path / "adapter_model.safetensors").write_bytes(whole[:length])
        refused(path, "is not a whole safetensors file")


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", "There is no adapter directory")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no adapter_config.json, so it is no adapter")
    path = written(tmp_path / "a", fused())
    (path / "adapter_model.safetensors").unlink()
    refused(path, "Could not open .*adapter_model.safetensors")


@pytest.mark.parametrize("values", [3, [0, 2], [0, 2, "a"], [-1, 2, 6.0], [0, True, 6.0], [0, -2, 6.0]])
def test_damaged_notes_are_refused(values: object, tmp_path: Path) -> None:
    path = written(tmp_path / "a", fused())
    (path / "adapter_parts.json").write_text(json.dumps({"decoder.layers.0.attention.sublayer.query": values}))
    refused(path, r"It takes \[start, rank, alpha\].*delete it")


def test_notes_beyond_the_file_do_not_count(tmp_path: Path) -> None:
    path, model = written(tmp_path / "a", fused()), gpt2()
    (path / "adapter_parts.json").write_text(json.dumps({"decoder.layers.0.attention.sublayer.query": [1, 9, 27.0]}))
    load_adapter(path, model)
    assert adapters(model)["decoder.layers.0.attention.sublayer.query"].knobs.rank == 2


def test_a_model_without_adapters_is_not_saved_as_some(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="has no adapters"):
        save_adapter(tmp_path / "a", gpt2())
    assert not (tmp_path / "a").exists()


def test_adapters_on_adapters_are_refused(tmp_path: Path) -> None:
    model = trained(gpt2(), "query")
    with pytest.raises(CutawayError, match="has adapters already"):
        load_adapter(written(tmp_path / "a", fused()), model)


def test_a_tied_head_without_a_module_of_its_own_is_said(tmp_path: Path) -> None:
    config = tiny.config(decoder=tiny.stack(num_layers=4, num_shared=2), is_tied=True)
    with pytest.raises(CutawayError, match=r"The Cutaway family has no module for an adapter on head.projection"):
        save_adapter(tmp_path / "a", trained(tiny.model(config), "head.projection"))


def test_an_edited_base_is_said(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", trained(gpt2(), "query"), base="stories")
    edit_json(tmp_path / "a" / "adapter_config.json", r=4)
    refused(tmp_path / "a", "made for 'stories'")
    assert stored(tmp_path / "a")[0]["base_model_name_or_path"] == "stories"


def test_an_adapter_for_other_weights_of_one_shape_is_refused(tmp_path: Path) -> None:
    model, other = (tiny.model(tiny.config(), seed=seed) for seed in (1, 2))
    save_adapter(tmp_path / "a", trained(model, "query", "value"), base="the-base")
    before = [parameter.clone() for parameter in other.parameters()]
    with pytest.raises(
        CutawayError, match=r"other weights than .*query.* differ. It says that it was made for 'the-base'"
    ):
        load_adapter(tmp_path / "a", other)
    assert all(torch.equal(now, then) for now, then in zip(other.parameters(), before, strict=True))
    assert not adapters(other)
    (tmp_path / "a" / "adapter_base.json").unlink()
    load_adapter(tmp_path / "a", other)
    assert adapters(other)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_base_in_fewer_bits_is_still_the_base(bits: int, tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", trained(tiny.model(tiny.config(), seed=1), "query", "input"))
    rounded = tiny.model(tiny.config(), seed=1)
    quantise(rounded, bits)
    load_adapter(tmp_path / "a", rounded)
    assert adapters(rounded)


@pytest.mark.parametrize("content", [{"no.such.matrix": [1.0]}, {"decoder.layers.0.attention.sublayer.query": ["x"]}])
def test_a_damaged_note_on_the_base_is_refused(content: object, tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", trained(tiny.model(tiny.config()), "query"))
    (tmp_path / "a" / "adapter_base.json").write_text(json.dumps(content))
    with pytest.raises(CutawayError, match=r"adapter_base.json is damaged, or of another adapter"):
        load_adapter(tmp_path / "a", tiny.model(tiny.config()))
