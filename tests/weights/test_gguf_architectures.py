"""Every architecture of GGUF files: names as the gguf package has them, models that come back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from cutaway.config import PositionConfig, RotaryScaling
from cutaway.errors import CutawayError
from cutaway.model import Transformer
from cutaway.weights import checkpoint
from cutaway.weights.families import FAMILIES, find_family
from cutaway.weights.gguf import WRITABLE, load, save
from cutaway.weights.gguf.architecture import Architecture
from cutaway.weights.gguf.architectures import ARCHITECTURES
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.gguf.rope import FACTORS, factors_of, read_rope
from cutaway.weights.gguf.source import Source
from cutaway.weights.names import expand
from cutaway.weights.places import Places
from tests import tiny
from tests.weights.test_decoders import LINEAR, LLAMA3, MANY_EXPERTS, MIXED, PARALLEL, PLAIN, SIZES, USUAL, YARN, both
from tests.weights.test_decoders import theirs as reference
from tests.weights.test_gpt2 import greedy, logits

EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": None}
CAPS = {"sliding_window": 5, "query_pre_attn_scalar": 6}
UNSTRETCHED = {"rope_type": "default", "rope_theta": YARN["rope_theta"]}
PARTIAL = {"rope_parameters": {**PLAIN, "partial_rotary_factor": 0.7}}
# Whose configs a file can say; the peers' tests ask llama.cpp what it makes of each.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Llama", SIZES),
    ("Llama", {**SIZES, "rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    ("Llama", {**USUAL, "rope_parameters": YARN, "attention_bias": True, "mlp_bias": True}),
    ("Llama", {**USUAL, "rope_parameters": LINEAR, "num_key_value_heads": 4}),
    ("Mistral", {**SIZES, "sliding_window": None}),
    ("Mixtral", {**SIZES, **EXPERTS}),
    ("SmolLM3", {**USUAL, "num_hidden_layers": 5}),
    ("Qwen2", {**USUAL, "rope_parameters": YARN}),
    ("Qwen3", SIZES),
    ("Qwen3Moe", {**SIZES, **MANY_EXPERTS, "norm_topk_prob": True}),
    ("Gemma", SIZES),
    ("Gemma2", {**SIZES, **CAPS, "attn_logit_softcapping": 9.0}),
    ("Gemma2", {**SIZES, **CAPS, "layer_types": MIXED}),
    ("Gemma3", {**SIZES, **CAPS, "num_hidden_layers": 7, **both({**PLAIN, "rope_theta": 90.0}, LINEAR)}),
    ("Gemma3", {**SIZES, **CAPS, "layer_types": MIXED, **both(PLAIN, LINEAR)}),
    ("Phi3", {**USUAL, **PARTIAL}),
    ("Phi3", {**USUAL, "tie_word_embeddings": True}),
    ("Olmo2", {**USUAL, "rope_parameters": LINEAR}),
    ("Olmo3", {**USUAL, "num_hidden_layers": 5, "sliding_window": 5}),
    ("Olmo3", {**USUAL, "sliding_window": 5, "layer_types": MIXED, **both(UNSTRETCHED, YARN)}),
    ("GPTNeoX", PARALLEL),
    (
        "GPTNeoX",
        {**PARALLEL, "use_parallel_residual": False, "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}},
    ),
]
CASED_ELSEWHERE = {"gpt2", "llada", "Dream", "bert", "t5"}  # in files of tests of their own
NAMES = [f"{name}-{index}" for index, (name, _) in enumerate(CASES)]


def opened(name: str, knobs: dict[str, Any], directory: Path) -> Transformer:
    """A random model of transformers, opened as ours."""
    reference(name, knobs).save_pretrained(directory)
    return checkpoint.load(directory)


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=NAMES)
def test_a_model_comes_back(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    ours, ids = opened(name, knobs, tmp_path / "m"), tiny.ids(2, 23)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    again = load(tmp_path / "m.gguf").model
    tiny.assert_close(logits(again, ids), logits(ours, ids))
    assert torch.equal(greedy(again, ids, 8), greedy(ours, ids, 8))
    fraction = ours.config.main.position.fraction
    position = replace(again.config.main.position, fraction=fraction)
    assert replace(again.config, decoder=replace(again.config.main, position=position)) == ours.config


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=NAMES)
def test_names_are_the_library_s(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    ours = opened(name, knobs, tmp_path / "m")
    path = tmp_path / "m.gguf"
    save(path, ours, None)
    with GgufFile(path) as file:
        held, title = set(file.entries), file.metadata["general.architecture"]
    architecture = next(each for each, known in gguf.MODEL_ARCH_NAMES.items() if known == title)
    names = gguf.get_tensor_name_map(architecture, ours.config.main.num_layers)
    family = find_family(model_type(title, ours), "")
    wanted = set()
    for entry in expand(family.rules(ours.config), Places(ours).tensors):
        theirs, _, part = without_expert(entry.theirs).rpartition(".")
        found = names.get_name(theirs)
        assert found is not None, entry.theirs
        wanted.add(f"{found}.{part}")
    assert held - {FACTORS} == wanted


def without_expert(name: str) -> str:
    """As the library is asked for the experts of a layer, which it has joined before."""
    parts = name.split(".")
    return ".".join(part for i, part in enumerate(parts) if not (part.isdigit() and parts[i - 1] == "experts"))


def model_type(title: object, ours: Transformer) -> str:
    """The family of a file with this architecture."""
    held = {family.model_type for family in FAMILIES if not family.misfits(ours.config)}
    return next(each.model_type for each in ARCHITECTURES if each.name == title and each.model_type in held)


def test_every_architecture_has_a_case() -> None:
    assert {each.name for each in ARCHITECTURES} <= set(gguf.MODEL_ARCH_NAMES.values())
    assert {each.model_type for each in ARCHITECTURES} >= CASED_ELSEWHERE
    cased = {name.lower().replace("3moe", "3_moe").replace("gptneox", "gpt_neox") for name, _ in CASES}
    wanted = {each.model_type.removesuffix("_text") for each in ARCHITECTURES} - CASED_ELSEWHERE
    assert wanted == cased - {"mistral"}  # without a window, Mistral is Llama


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("Llama", {**SIZES, "hidden_act": "relu"}, "feedforward.activation would be silu"),
        ("Llama", {**USUAL, "rope_parameters": {**YARN, "attention_factor": 1.3}}, "attention_factor would be none"),
        ("Mistral", {**SIZES, "sliding_window": 5}, "has no windows, and this model"),
        ("Mixtral", {**SIZES, **EXPERTS, "sliding_window": 5}, "layer_types.sliding would be none"),
        ("Qwen2", {**USUAL, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}, "would be none"),
        ("Qwen3", {**SIZES, "rope_parameters": LLAMA3}, "position.scaling would be none"),
        ("Qwen3Moe", {**SIZES, **MANY_EXPERTS}, "experts.renormalise would be True"),
        ("Gemma2", {**SIZES, **CAPS, "attn_logit_softcapping": None}, "attention.softcap would be 50.0"),
        ("Gemma2", {**SIZES, **CAPS, "query_pre_attn_scalar": 9}, "attention.scale would be none"),
        ("Phi3", {**USUAL, **PARTIAL, "sliding_window": 5}, "phi3 has no windows, and this model's layers see 5 of 48"),
        ("Olmo2", {**USUAL, "attention_bias": True}, "attention.bias would be False"),
        ("Olmo2", {**USUAL, "tie_word_embeddings": True}, "is_tied would be False"),
        ("Olmo3", {**USUAL, "sliding_window": 5, **both(PLAIN, YARN)}, "position.base would be 700.0"),
        ("Olmo3", {**USUAL, "sliding_window": 5, **both(YARN, YARN)}, "position"),
        ("SmolLM3", {**USUAL, "no_rope_layers": [1, 0, 1]}, "In llama.cpp's smollm3"),
        ("GPTNeoX", {**PARALLEL, "tie_word_embeddings": True}, "is_tied would be False"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    name: str, knobs: dict[str, Any], message: str, tmp_path: Path
) -> None:
    ours = opened(name, knobs, tmp_path / "m")
    with pytest.raises(CutawayError) as caught:
        save(tmp_path / "m.gguf", ours, None)
    assert message in str(caught.value)
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("context", [24, 1000, 4096, 8192, 32768])
@pytest.mark.parametrize("factor", [2.0, 8.0, 32.0])
def test_the_stretching_of_llama_3_is_found_from_its_factors(context: int, factor: float) -> None:
    scaling = RotaryScaling(kind="llama3", factor=factor, original_context=context)
    stack = tiny.stack(d_model=256, position=PositionConfig(kind="rotary", base=500_000.0, scaling=scaling))
    factors = factors_of(stack)
    assert factors is not None
    found = read_rope(source({"llama.rope.freq_base": 500_000.0}, factors), 64, has_factors=True)
    again = RotaryScaling(
        kind="llama3", factor=found["factor"], original_context=found["original_max_position_embeddings"]
    )
    other = factors_of(replace(stack, position=replace(stack.position, scaling=again)))
    assert other is not None
    assert torch.allclose(other, factors, rtol=1e-4)


@pytest.mark.parametrize(
    "factors",
    [
        torch.linspace(1, 9, 32),
        torch.full((32,), float("nan")),
        torch.full((32,), float("inf")),
        torch.zeros(32),
        torch.full((32,), -3.0),
        torch.ones(7),
    ],
    ids=["other", "nan", "infinite", "zero", "negative", "short"],
)
def test_other_factors_are_named(factors: torch.Tensor) -> None:
    with pytest.raises(CutawayError, match=r"m\.gguf: rope_freqs\.weight"):
        read_rope(source({}, factors), 64, has_factors=True)


def source(metadata: dict[str, Any], factors: torch.Tensor) -> Source:
    """A file with these factors."""
    shapes = {FACTORS: tuple(factors.shape)}
    return Source(place="m.gguf", name="llama", metadata=metadata, shapes=shapes, read=lambda _: factors)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rope.scaling.type", "longrope", "It takes one of none, linear, yarn"),
        ("rope.freq_base", "x", "It takes a number"),
        ("rope.dimension_count", -4, "It takes a whole number above 0"),
        ("rope.dimension_count", 2, "partial_rotary_factor"),
        ("attention.key_length", 0, "It takes a whole number above 0"),
        ("attention.value_length", 7, "as wide as a head's key"),
        ("attention.layer_norm_rms_epsilon", float("nan"), "m.gguf"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "m.gguf", opened("Llama", SIZES, tmp_path / "m"), None)
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        self.metadata[f"llama.{key}"] = value

    monkeypatch.setattr(GgufFile, "__init__", changed)
    with pytest.raises(CutawayError) as caught:
        load(tmp_path / "m.gguf")
    assert message in str(caught.value)
    assert "m.gguf" in str(caught.value)


def test_a_table_says_no_more_than_its_family() -> None:
    for each in ARCHITECTURES:
        assert isinstance(each, Architecture)
        assert find_family(each.model_type, "").model_type == each.model_type
