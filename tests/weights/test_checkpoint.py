"""Checkpoints: what is saved comes back bit for bit, and whatever else stands there ends in one clear message."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cutaway.config import AttentionConfig, ModelConfig, PositionConfig
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.stores import KVStore
from cutaway.weights import checkpoint
from cutaway.weights.atomic import is_complete
from cutaway.weights.shards import Shards, open_shards
from tests import tiny
from tests.weights.samples import saved, wild

CONFIGS: dict[str, ModelConfig] = {
    "gpt2": tiny.config(is_tied=True),
    "wild": wild(),
    "tied, with sinusoids in both stacks": tiny.config(
        encoder=tiny.stack(), decoder=tiny.stack(placement="post"), is_tied=True
    ),
    "encoder with types and a transform": tiny.config(encoder=tiny.stack(num_token_types=2), head_transform="silu"),
    "encoder with a pooler": tiny.config(encoder=tiny.stack(), has_head=False, has_pooler=True),
    "encoder without head": tiny.config(encoder=tiny.stack(), has_head=False),
    "our own form, with a width that goes without saying": tiny.config(
        decoder=tiny.stack(attention=AttentionConfig(num_heads=4, d_head=4), position=PositionConfig(kind="alibi"))
    ),
    **{name: tiny.config(decoder=stack) for name, stack in tiny.variants().items()},
}


def run(model: Transformer) -> torch.Tensor:
    """Logits (states without a head), through a store and an encoder where there is one."""
    call = Call(visibility.causal(9), store=KVStore(model.config.main, dtype=torch.float32))
    if model.config.has_cross:
        call.memory = model.encode(tiny.ids(1, 6, seed=8), Call(visibility.full(6)))
    states = model.states(tiny.ids(1, 9), call)
    return states if model.head is None else model.logits(states, call)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_saved_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = tiny.model(CONFIGS[name])
    checkpoint.save(tmp_path / "m", model)
    again = checkpoint.load(tmp_path / "m")
    assert again.config == model.config
    one, other = dict(model.named_parameters()), dict(again.named_parameters())
    assert one.keys() == other.keys(), "what was tied stays tied"
    assert all(torch.equal(one[key], other[key]) for key in one)
    own, others = dict(model.named_buffers()), dict(again.named_buffers())
    assert own.keys() == others.keys()
    assert all(torch.equal(own[key], others[key]) for key in own), "what follows from a formula is there too"
    assert all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in [*other.values(), *others.values()])
    with torch.inference_mode():
        assert torch.equal(run(model), run(again))


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    first = saved(tmp_path)
    checkpoint.save(tmp_path / "again", checkpoint.load(first))
    for name in ("model.safetensors", "config.json", "complete.json"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_types_are_stored_and_widened(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny.model(CONFIGS["gpt2"])
    checkpoint.save(tmp_path / "m", model, dtype=dtype)
    assert {tensor.dtype for tensor in load_file(tmp_path / "m" / "model.safetensors").values()} == {dtype}
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    for wanted in (torch.float32, dtype):
        again = dict(checkpoint.load(tmp_path / "m", wanted).named_parameters())
        assert all(torch.equal(again[name], p.to(dtype).to(wanted)) for name, p in model.named_parameters())


def test_opening_draws_no_random_number(tmp_path: Path) -> None:
    path, before = saved(tmp_path), torch.get_rng_state()
    checkpoint.load(path)
    assert torch.equal(before, torch.get_rng_state())


def test_every_parameter_has_memory_of_its_own(tmp_path: Path) -> None:
    parameters = list(checkpoint.load(saved(tmp_path)).parameters())
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in parameters)
    assert len({p.data_ptr() for p in parameters}) == len(parameters)


@pytest.mark.parametrize("are_copied", [True, False])
def test_the_next_tensor_is_read_while_one_is_used(
    are_copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path / "m", tiny.model(tiny.config()))
    begun, real = [threading.Event() for _ in range(99)], Shards.read

    def watched(shards: Shards, name: str, scratch: Tensor | None = None) -> Tensor:
        next(event for event in begun if not event.is_set()).set()
        return real(shards, name, scratch)

    monkeypatch.setattr(Shards, "read", watched)
    stored = load_file(tmp_path / "m" / "model.safetensors")
    with open_shards(tmp_path / "m") as shards:
        reading = checkpoint._read_ahead([*stored], stored if are_copied else (), shards)
        for number, (name, found) in enumerate(zip(stored, reading, strict=True), start=1):
            assert number == len(stored) or begun[number].wait(9), "the next one is read while this one is used"
            assert torch.equal(found, stored[name])


def test_further_files_and_notes(tmp_path: Path) -> None:
    model = tiny.model(CONFIGS["gpt2"])
    checkpoint.save(tmp_path / "a", model, tokenizer_files={"tokenizer.json": b"{}"}, metadata={"steps": "12"})
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == b"{}"
    assert checkpoint.read_metadata(tmp_path / "a")["steps"] == "12"
    checkpoint.save(tmp_path / "b", model, tokenizer_files=lambda place: (place / "t.json").write_bytes(b"1") and None)
    assert (tmp_path / "b" / "t.json").read_bytes() == b"1"
    assert is_complete(tmp_path / "b")


def test_several_files(tmp_path: Path) -> None:
    path = saved(tmp_path)
    wanted = dict(checkpoint.load(path).named_parameters())
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    weight_map = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(tensors)}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == file}, path / file)
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    again = dict(checkpoint.load(path).named_parameters())
    assert all(torch.equal(wanted[name], again[name]) for name in wanted)

    name = next(iter(tensors))
    for bad, message in [("../model-0.safetensors", "beside it"), ("model-9.safetensors", "No such file")]:
        index.write_text(json.dumps({"weight_map": {**weight_map, name: bad}}))
        with pytest.raises(CutawayError, match=message):
            checkpoint.load(path)
    index.write_text(json.dumps({"weight_map": {**weight_map, "ghost": "model-0.safetensors"}}))
    with pytest.raises(CutawayError, match="holds ghost, but it does not"):
        checkpoint.load(path)
    index.write_text(json.dumps({"weight_map": [1]}))
    with pytest.raises(CutawayError, match="weight_map"):
        checkpoint.load(path)


def rewrite(path: Path, change: Any) -> None:
    """Apply a change to the dictionary of stored tensors."""
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    path = saved(tmp_path)

    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if ".h.1." in name]:
            del tensors[name]

    rewrite(path, drop)
    with pytest.raises(
        CutawayError, match=r"model.safetensors.*12 missing: transformer.h.1.ln_1.weight.*, and 7 more\."
    ):
        checkpoint.load(path)


def test_one_message_for_all_faults(tmp_path: Path) -> None:
    path = saved(tmp_path)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["transformer.ln_f.bias"]
        tensors["score.weight"] = torch.zeros(2, 16)
        tensors["transformer.wte.weight"] = torch.zeros(31, 15)
        tensors["transformer.ln_f.weight"] = torch.ones(16, dtype=torch.int32)

    rewrite(path, change)
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(path)
    for part in (
        "1 missing: transformer.ln_f.bias.",
        "1 not asked for: score.weight.",
        "transformer.wte.weight is [31, 15] and should be [31, 16].",
        "1 not of a floating type: transformer.ln_f.weight.",
    ):
        assert part in str(caught.value)


def test_masks_of_old_files_are_passed_over_and_a_copied_head_is_compared(tmp_path: Path) -> None:
    path = saved(tmp_path)

    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 48, 48, dtype=torch.bool)
        tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()

    rewrite(path, add)
    checkpoint.load(path)

    def strip(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    bare = saved(tmp_path / "bare")
    rewrite(bare, add)
    rewrite(bare, strip)
    checkpoint.load(bare)
    rewrite(path, lambda tensors: tensors["lm_head.weight"][3].add_(1))
    with pytest.raises(CutawayError, match=r"lm_head.weight and transformer.wte.weight differ.*tie_word_embeddings"):
        checkpoint.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite(path, lambda tensors: tensors["transformer.h.1.attn.c_attn.weight"][2, 5].fill_(value))
    with pytest.raises(CutawayError, match=r"transformer.h.1.attn.c_attn.weight holds numbers that are not finite"):
        checkpoint.load(path)


def test_large_numbers_are_fine_where_they_fit(tmp_path: Path) -> None:
    model = tiny.model(CONFIGS["gpt2"])
    model.decoder.norm.weight.data.fill_(3e38)
    checkpoint.save(tmp_path / "m", model)
    assert checkpoint.load(tmp_path / "m").decoder.norm.weight[0] == torch.tensor(3e38)
    with pytest.raises(CutawayError, match=r"transformer.ln_f.weight.*float16.*too large"):
        checkpoint.load(tmp_path / "m", torch.float16)
    with pytest.raises(CutawayError, match=r"transformer.ln_f.weight.*float16.*too large"):
        checkpoint.save(tmp_path / "short", model, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_a_diverged_model_does_not_replace_a_good_one(tmp_path: Path) -> None:
    path, model = saved(tmp_path), tiny.model(CONFIGS["gpt2"])
    before = (path / "model.safetensors").read_bytes()
    model.decoder.norm.weight.data[0] = float("nan")
    with pytest.raises(CutawayError, match="Training diverged"):
        checkpoint.save(path, model)
    assert (path / "model.safetensors").read_bytes() == before
    assert is_complete(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"float64. Allowed: float32, float16, bfloat16"):
        checkpoint.save(tmp_path / "m", tiny.model(CONFIGS["gpt2"]), dtype=torch.float64)
