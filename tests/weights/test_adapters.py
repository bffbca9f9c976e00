"""Adapters in files: the format from known numbers, without PEFT; there and back bit for bit, in every kind of family."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, ModelConfig, NormConfig, PositionConfig
from cutaway.errors import CutawayError
from cutaway.model import Transformer
from cutaway.model.adapter import adapters, matrices, merge
from cutaway.runtime.quantise import quantise
from cutaway.train.adapters import AdapterConfig, attach
from cutaway.weights import checkpoint
from cutaway.weights.adapters import load_adapter, save_adapter
from cutaway.weights.families import family_of, find_family
from cutaway.weights.layout import join
from cutaway.weights.names import expand
from cutaway.weights.places import Places
from tests import tiny
from tests.weights.adapter_files import logits, stored, trained, written
from tests.weights.samples import wild
from tests.weights.test_decoders import PARALLEL, SIZES, USUAL, theirs

GPT2 = tiny.config(decoder=tiny.stack(position=PositionConfig(kind="learned")), is_tied=True)
BLOCK = "transformer.h.{}.attn.c_attn"
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "one by one": ("Llama", SIZES),
    "fused": ("Phi3", USUAL),
    "fused by head": ("GPTNeoX", PARALLEL),
    "fused by head, in turn": ("GPTNeoX", {**PARALLEL, "use_parallel_residual": False}),
    "experts": ("Mixtral", {**SIZES, "num_local_experts": 3, "num_experts_per_tok": 2}),
}
TARGETS: list[tuple[str, ...]] = [
    ("*",),
    ("query",),
    ("*.attention.query", "*.attention.value"),
    ("*.layers.1.*",),
    ("*.feedforward.*",),
]


def our_stacks() -> dict[str, ModelConfig]:
    """Models that each have a family of their own, or none."""
    gated = FeedForwardConfig(d_hidden=24, is_gated=True, activation="silu", bias=False)
    plain = AttentionConfig(num_heads=4, num_kv_heads=2, bias=False, output_bias=False)
    llama = tiny.stack(
        attention=plain, feedforward=gated, norm=NormConfig(kind="rms"), position=PositionConfig(kind="rotary")
    )
    experts = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=2))
    return {
        "turned and fused": tiny.config(decoder=GPT2.decoder),
        "its positions by formula": tiny.config(is_tied=True),
        "rotary": tiny.config(decoder=llama),
        "our own form": wild(),
        "our own form with experts": tiny.config(decoder=tiny.stack(feedforward=experts)),
    }


def gpt2() -> Transformer:
    return tiny.model(GPT2)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fused(num_layers: int = 2, rank: int = 2, width: int = 16) -> dict[str, Tensor]:
    """A and B on the fused matrix of each layer."""
    return {
        f"{BLOCK.format(layer)}.{part}": random(*shape, seed=2 * layer + index)
        for layer in range(num_layers)
        for index, (part, shape) in enumerate({"A": (rank, width), "B": (3 * width, rank)}.items())
    }


def test_an_adapter_on_a_fused_matrix_becomes_three_with_one_a(tmp_path: Path) -> None:
    """From known numbers: the rows of B are queries, keys, values, in this order, and A is that of all three."""
    tensors, model = fused(), gpt2()
    parameters = load_adapter(written(tmp_path / "a", tensors), model)
    found = adapters(model)
    assert len(found) == 6
    for layer in (0, 1):
        for index, part in enumerate(("query", "key", "value")):
            adapter = found[f"decoder.layers.{layer}.attention.sublayer.{part}"]
            assert adapter.knobs.scale == 3.0
            assert torch.equal(adapter.down, tensors[f"{BLOCK.format(layer)}.A"])
            assert torch.equal(adapter.up, tensors[f"{BLOCK.format(layer)}.B"][16 * index : 16 * index + 16])
    assert [id(p) for p in parameters] == [id(p) for p in model.parameters() if p.requires_grad]


def test_known_numbers_give_the_merged_weights(tmp_path: Path) -> None:
    """The fused matrix lies [d_in, d_out] in a checkpoint; the change is (alpha / r · B A)ᵀ."""
    tensors, model = fused(), gpt2()
    load_adapter(written(tmp_path / "a", tensors), model)
    merge(model)
    checkpoint.save(tmp_path / "plain", gpt2())
    checkpoint.save(tmp_path / "merged", model)
    plain, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "merged"))
    for name, tensor in plain.items():
        module = name.removesuffix(".weight")
        change = tensors.get(f"{module}.A")
        wanted = tensor if change is None else tensor + 6 / 2 * (tensors[f"{module}.B"] @ change).T
        torch.testing.assert_close(merged[name], wanted, rtol=0, atol=1e-5)


def test_the_file_of_three_with_one_a_is_that_which_was_read(tmp_path: Path) -> None:
    tensors, model = fused(), gpt2()
    load_adapter(written(tmp_path / "a", tensors, lora_dropout=0.1), model)
    save_adapter(tmp_path / "b", model)
    settings, found = stored(tmp_path / "b")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert (settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == (2, 6, 0.1)
    assert settings["target_modules"] == ["c_attn"]
    assert settings["fan_in_fan_out"] is True
    assert settings["task_type"] == "CAUSAL_LM"
    assert not (tmp_path / "b" / "adapter_parts.json").exists()


def test_queries_alone_are_a_fused_adapter_with_rows_of_zeros(tmp_path: Path) -> None:
    model = trained(gpt2(), "query")
    save_adapter(tmp_path / "a", model)
    _, found = stored(tmp_path / "a")
    own = adapters(model)["decoder.layers.1.attention.sublayer.query"]
    assert torch.equal(found[f"{BLOCK.format(1)}.A"], own.down)
    up = found[f"{BLOCK.format(1)}.B"]
    assert torch.equal(up[:16], own.up)
    assert not up[16:].any()


def test_queries_and_values_with_an_a_each_are_one_adapter_of_twice_the_rank(tmp_path: Path) -> None:
    model = trained(gpt2(), "query", "value", "*.attention.output")
    save_adapter(tmp_path / "a", model)
    settings, found = stored(tmp_path / "a")
    q, v = (adapters(model)[f"decoder.layers.0.attention.sublayer.{part}"] for part in ("query", "value"))
    down, up = found[f"{BLOCK.format(0)}.A"], found[f"{BLOCK.format(0)}.B"]
    assert torch.equal(down, torch.cat([q.down, v.down]).detach())
    assert torch.equal(up, torch.block_diag(q.up, torch.zeros(16, 0), v.up).detach())
    assert settings["r"] in (3, 6)
    ranks = {name: settings["rank_pattern"].get(name, settings["r"]) for name in _modules(found)}
    alphas = {name: settings["alpha_pattern"].get(name, settings["lora_alpha"]) for name in _modules(found)}
    assert {name: alphas[name] / ranks[name] for name in ranks} == dict.fromkeys(ranks, 5 / 3)


def _modules(tensors: dict[str, Tensor]) -> list[str]:
    return sorted({name[:-2] for name in tensors})


@pytest.mark.parametrize("targets", TARGETS, ids=",".join)
@pytest.mark.parametrize("config", our_stacks().values(), ids=our_stacks())
def test_there_and_back_bit_for_bit(config: ModelConfig, targets: tuple[str, ...], tmp_path: Path) -> None:
    is_stabilised = len(targets) == 2
    if config.is_tied and targets == ("*",):
        targets = ("*.layers.*",)
    assert_there_and_back(tiny.model(config), tmp_path, *targets, is_rank_stabilised=is_stabilised, dropout=0.25)


@pytest.mark.parametrize("targets", TARGETS, ids=",".join)
@pytest.mark.parametrize("case", DECODERS.values(), ids=DECODERS)
def test_there_and_back_in_the_form_of_the_base(case: Any, targets: tuple[str, ...], tmp_path: Path) -> None:
    """And the file says what it means: the base's tensors with alpha / r · B A added are those of the merged model."""
    theirs(*case).save_pretrained(tmp_path / "base")
    model = checkpoint.load(tmp_path / "base")
    assert_there_and_back(model, tmp_path, *targets, base=str(tmp_path / "base"))


def assert_there_and_back(model: Transformer, place: Path, *targets: str, base: str = "", **knobs: Any) -> None:
    """Saved and loaded, adapters, knobs and logits are the same bits; saved again, so is every file."""
    other = tiny.model(model.config)
    other.load_state_dict(model.state_dict())
    trained(model, *targets, **knobs)
    save_adapter(place / "a", model, base=base)
    load_adapter(place / "a", other)
    one, again = adapters(model), adapters(other)
    assert one.keys() == again.keys()
    for path, adapter in one.items():
        assert again[path].knobs == adapter.knobs
        assert torch.equal(again[path].down, adapter.down)
        assert torch.equal(again[path].up, adapter.up)
    assert torch.equal(logits(other), logits(model))
    save_adapter(place / "b", other, base=base)
    names = sorted(path.name for path in (place / "a").iterdir())
    assert names == sorted(path.name for path in (place / "b").iterdir())
    assert all((place / "a" / name).read_bytes() == (place / "b" / name).read_bytes() for name in names)


@pytest.mark.parametrize("case", DECODERS.values(), ids=DECODERS)
def test_the_file_says_the_change_of_each_matrix_of_theirs(case: Any, tmp_path: Path) -> None:
    """In the base's own names and layout: W + alpha / r · B A is the merged matrix."""
    reference = theirs(*case)
    reference.save_pretrained(tmp_path / "base")
    model = trained(checkpoint.load(tmp_path / "base"), "query", "value", "*.feedforward.*")
    save_adapter(tmp_path / "a", model, base=str(tmp_path / "base"))
    merge(model)
    settings, found = stored(tmp_path / "a")
    plain = before_and_after(model, tmp_path / "base")
    for module in _modules(found):
        rank = settings["rank_pattern"].get(module, settings["r"])
        scale = settings["alpha_pattern"].get(module, settings["lora_alpha"]) / rank
        before, after = plain[f"{module}.weight"]
        torch.testing.assert_close(
            after, before + scale * found[f"{module}.B"] @ found[f"{module}.A"], rtol=0, atol=1e-5
        )


def before_and_after(model: Transformer, base: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Every matrix of theirs before and after, by name: ours is written by the base's own name table."""
    family = find_family(json.loads((base / "config.json").read_text())["model_type"], "config.json")
    sides = []
    for each in (checkpoint.load(base), model):
        ours = Places(each).tensors
        mapped = expand(family.rules(model.config), ours)
        sides.append(
            {entry.theirs: join(entry.layout, [ours[name].detach() for name in entry.ours]) for entry in mapped}
        )
    return {name: (sides[0][name], sides[1][name]) for name in sides[0]}


def test_without_the_notes_the_change_is_the_same(tmp_path: Path) -> None:
    model, other = trained(gpt2(), "query", "value"), gpt2()
    save_adapter(tmp_path / "a", model)
    (tmp_path / "a" / "adapter_parts.json").unlink()
    load_adapter(tmp_path / "a", other)
    assert len(adapters(other)) == 6
    tiny.assert_close(logits(other), logits(model))


def test_notes_that_do_not_fit_the_numbers_do_not_count(tmp_path: Path) -> None:
    """As when others trained the file on: B is no longer zero outside of the parts."""
    model, other = trained(gpt2(), "query", "value"), gpt2()
    save_adapter(tmp_path / "a", model)
    settings, found = stored(tmp_path / "a")
    changed = {name: tensor + 0.1 if name.endswith("B") else tensor for name, tensor in found.items()}
    keys = {key: settings[key] for key in ("r", "lora_alpha", "rank_pattern", "alpha_pattern")}
    written(tmp_path / "b", changed, **keys)
    shutil.copy(tmp_path / "a" / "adapter_parts.json", tmp_path / "b")
    load_adapter(tmp_path / "b", other)
    own = adapters(other)["decoder.layers.0.attention.sublayer.key"]
    assert torch.equal(own.up, changed[f"{BLOCK.format(0)}.B"][16:32])


def test_a_fresh_adapter_comes_back_as_it_was(tmp_path: Path) -> None:
    """B is all zeros: only the notes say which rows of A are whose."""
    model, other = gpt2(), gpt2()
    attach(model, AdapterConfig(targets=("query", "value"), rank=3), seed=1)
    save_adapter(tmp_path / "a", model)
    load_adapter(tmp_path / "a", other)
    assert all(torch.equal(adapters(other)[path].down, own.down) for path, own in adapters(model).items())


def test_a_model_without_its_head_has_names_without_the_prefix(tmp_path: Path) -> None:
    """As PEFT names the modules of a bare model; one with its head reads that file too."""
    knobs = {"vocab_size": tiny.VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(**knobs, intermediate_size=24, max_position_embeddings=40)
    theirs, with_head = transformers.BertModel(config), transformers.BertForMaskedLM(config)
    with_head.bert.load_state_dict(theirs.state_dict(), strict=False)
    theirs.save_pretrained(tmp_path / "bare")
    with_head.save_pretrained(tmp_path / "headed")
    bare, headed = (checkpoint.load(tmp_path / name) for name in ("bare", "headed"))
    save_adapter(tmp_path / "a", trained(bare, "query"))
    settings, found = stored(tmp_path / "a")
    assert sorted(found) == [f"encoder.layer.{layer}.attention.self.query.{part}" for layer in (0, 1) for part in "AB"]
    assert settings["task_type"] == "FEATURE_EXTRACTION"
    load_adapter(tmp_path / "a", headed)
    save_adapter(tmp_path / "b", headed)
    settings, found = stored(tmp_path / "b")
    assert all(name.startswith("bert.encoder.layer.") for name in found)
    assert settings["task_type"] is None


def test_ranks_and_alphas_by_pattern(tmp_path: Path) -> None:
    """A name, the end of one, and a pattern; the first that fits counts."""
    tensors = {**fused(2), "transformer.h.0.mlp.c_fc.A": random(4, 16), "transformer.h.0.mlp.c_fc.B": random(24, 4)}
    ranks = {r"mlp\.c_fc": 4}
    alphas = {r"^transformer\.h\.1\.attn.c_attn$": 8, r"h.\d+.attn.c_attn": 10, "c_fc": 2}
    model = gpt2()
    load_adapter(written(tmp_path / "a", tensors, rank_pattern=ranks, alpha_pattern=alphas), model)
    scales = {
        path: adapter.knobs.scale for path, adapter in adapters(model).items() if "query" in path or "input" in path
    }
    assert list(scales.values()) == [10 / 2, 2 / 4, 8 / 2]


def test_rank_stabilised_scales(tmp_path: Path) -> None:
    model = gpt2()
    load_adapter(written(tmp_path / "a", fused(), use_rslora=True), model)
    assert {adapter.knobs.scale for adapter in adapters(model).values()} == {6 / math.sqrt(2)}


def test_a_pickle_is_read_where_there_is_nothing_else(tmp_path: Path) -> None:
    path, model, wanted = written(tmp_path / "a", fused()), gpt2(), gpt2()
    load_adapter(path, wanted)
    torch.save(load_file(path / "adapter_model.safetensors"), path / "adapter_model.bin")
    (path / "adapter_model.safetensors").unlink()
    load_adapter(path, model)
    assert torch.equal(logits(model), logits(wanted))


def test_a_copy_of_the_base_beside_an_adapter_on_the_head_is_no_fault(tmp_path: Path) -> None:
    """PEFT keeps the head's own weight beside its adapter; one that was trained is refused."""
    model = gpt2()
    tensors = {"lm_head.A": random(2, 16), "lm_head.B": random(31, 2)}
    path = written(tmp_path / "a", tensors)
    add(path, "base_model.model.lm_head.base_layer.weight", model.token.weight)
    load_adapter(path, model)
    assert list(adapters(model)) == ["head.projection"]
    add(path, "base_model.model.lm_head.base_layer.weight", model.token.weight + 1)
    with pytest.raises(
        CutawayError, match=r"1 unknown or other than in the model: base_model.model.lm_head.base_layer"
    ):
        load_adapter(path, gpt2())
    rounded = gpt2()
    quantise(rounded, 8)
    with pytest.raises(CutawayError, match=r"those here are rounded, so that the two cannot be compared.*bits=32"):
        load_adapter(path, rounded)


def add(directory: Path, name: str, tensor: Tensor) -> None:
    """One more tensor in a file."""
    path = directory / "adapter_model.safetensors"
    save_file({**load_file(path), name: tensor.detach().clone()}, path)


def test_a_saved_checkpoint_has_no_place_for_adapters(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"has adapters, which a checkpoint does not hold.*save_adapter.*merge"):
        checkpoint.save(tmp_path / "m", trained(gpt2(), "query"))
    assert not (tmp_path / "m").exists()


def test_families_keep_apart_what_one_config_may_be(tmp_path: Path) -> None:
    """The fused form of the base is held by another family too, whose matrices are apart; the file decides."""
    reference = theirs("Phi3", USUAL)
    assert isinstance(reference, transformers.Phi3ForCausalLM)
    reference.save_pretrained(tmp_path / "base")
    model = checkpoint.load(tmp_path / "base")
    assert family_of(model.config).model_type == "llama"
    save_adapter(tmp_path / "a", trained(model, "query"), base=str(tmp_path / "base"))
    save_adapter(tmp_path / "b", model)
    assert stored(tmp_path / "a")[0]["target_modules"] == ["qkv_proj"]
    assert stored(tmp_path / "b")[0]["target_modules"] == ["q_proj"]
    wanted = logits(model)
    for name in ("a", "b"):
        other = checkpoint.load(tmp_path / "base")
        load_adapter(tmp_path / name, other)
        assert torch.equal(logits(other), wanted)


def test_experts_without_an_adapter_get_zeros_in_the_file_alone(tmp_path: Path) -> None:
    model = trained(checkpoint.load(mixtral(tmp_path)), "*.experts.1.input")
    save_adapter(tmp_path / "a", model)
    settings, found = stored(tmp_path / "a")
    assert len(_modules(found)) == 3 * 3 * 3
    assert settings["target_modules"] == ["w1", "w2", "w3"]
    assert sum(bool(tensor.any()) for name, tensor in found.items() if name.endswith("B")) == 3
    other = checkpoint.load(mixtral(tmp_path))
    load_adapter(tmp_path / "a", other)
    assert adapters(other).keys() == adapters(model).keys()
    assert len(matrices(other)) == len(matrices(model))


def mixtral(place: Path) -> Path:
    if not (place / "base").exists():
        theirs(*DECODERS["experts"]).save_pretrained(place / "base")
    return place / "base"


def test_rank_stabilised_experts_are_refused(tmp_path: Path) -> None:
    model = trained(checkpoint.load(mixtral(tmp_path)), "*.experts.*", is_rank_stabilised=True)
    with pytest.raises(CutawayError, match="rank-stabilised adapters of experts"):
        save_adapter(tmp_path / "a", model)
