"""LLaDA and Dream in GGUF files: they come back bit for bit, under the library's names, and what llama.cpp cannot is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.model import Transformer
from cutaway.weights import checkpoint
from cutaway.weights.gguf import WRITABLE, load, save
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.places import Places
from tests import tiny
from tests.reference import masked_decoders as twin
from tests.weights.test_masked_decoders import BOTH, DREAM, LLADA, made


def opened(directory: Path, config: dict[str, Any], names: dict[str, str], has_bias: bool) -> Transformer:
    """A random model under its makers' names, opened as ours."""
    made(directory, config, names, has_bias)
    return checkpoint.load(directory)


def assert_equal_bits(found: Transformer, wanted: Transformer) -> None:
    """The same config, and the same bits under the same names."""
    assert found.config == wanted.config
    ours, theirs = Places(found).tensors, Places(wanted).tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@BOTH
def test_a_model_comes_back_bit_for_bit(
    config: dict[str, Any], names: dict[str, str], has_bias: bool, tmp_path: Path
) -> None:
    ours = opened(tmp_path / "m", config, names, has_bias)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    assert_equal_bits(load(tmp_path / "m.gguf").model, ours)


@BOTH
@pytest.mark.parametrize("kind", WRITABLE)
def test_every_kind_of_numbers_opens(
    config: dict[str, Any], names: dict[str, str], has_bias: bool, kind: str, tmp_path: Path
) -> None:
    ours = opened(tmp_path / "m", config, names, has_bias)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE[kind])
    for name, tensor in Places(load(tmp_path / "m.gguf").model).tensors.items():
        assert (tensor - Places(ours).tensors[name]).abs().max() < 0.02


@BOTH
def test_names_are_the_library_s(config: dict[str, Any], names: dict[str, str], has_bias: bool, tmp_path: Path) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", config, names, has_bias), None)
    with GgufFile(tmp_path / "m.gguf") as file:
        held, title = set(file.entries), file.metadata["general.architecture"]
        assert file.metadata[f"{title}.attention.causal"] is False
        assert file.metadata["diffusion.shift_logits"] is (title == "dream")
        assert file.metadata["tokenizer.ggml.mask_token_id"] == 3
    assert held <= library_names(str(title), 3)


def library_names(title: str, layers: int) -> set[str]:
    """Every name that the library gives to a tensor of this architecture."""
    architecture = next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == title)
    patterns = [gguf.TENSOR_NAMES[each] for each in gguf.MODEL_TENSORS[architecture]]
    filled = {pattern.format(bid=layer) for pattern in patterns for layer in range(layers)}
    return {f"{name}.{part}" for name in filled for part in ("weight", "bias")}


def test_a_tied_head_stays_tied(tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", LLADA, twin.LLADA, False)
    tied = tiny.model(replace(ours.config, is_tied=True))
    save(tmp_path / "m.gguf", tied, None, kind=WRITABLE["f32"])
    assert_equal_bits(load(tmp_path / "m.gguf").model, tied)


def test_biases_that_llama_cpp_would_not_add_are_refused(tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", LLADA, twin.LLADA, False)
    attention, feedforward = ours.config.main.attention, ours.config.main.feedforward
    everywhere = replace(
        ours.config.main,
        attention=replace(attention, bias=True, output_bias=True),
        feedforward=replace(feedforward, bias=True),
    )
    with pytest.raises(CutawayError, match=r"In llama\.cpp's llada, decoder\.attention\.output_bias would be False"):
        save(tmp_path / "m.gguf", tiny.model(replace(ours.config, decoder=everywhere)), None)
    inside = replace(ours.config.main, attention=replace(attention, bias=True))
    biased = tiny.model(replace(ours.config, decoder=inside))
    save(tmp_path / "m.gguf", biased, None, kind=WRITABLE["f32"])
    assert_equal_bits(load(tmp_path / "m.gguf").model, biased)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("diffusion.shift_logits", True, "is read where it is|are read where it is False"),
        ("llada.rope.scaling.type", "yarn", "It takes none only"),
        ("llada.rope.dimension_count", 4, "It takes 6 only, as wide as a head"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", LLADA, twin.LLADA, False), None)
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        self.metadata[key] = value

    monkeypatch.setattr(GgufFile, "__init__", changed)
    with pytest.raises(CutawayError, match=message):
        load(tmp_path / "m.gguf")


def test_dream_s_logits_are_one_place_earlier(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", DREAM, twin.DREAM, True), None)
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        self.metadata["diffusion.shift_logits"] = False

    monkeypatch.setattr(GgufFile, "__init__", changed)
    with pytest.raises(CutawayError, match=r"the key diffusion\.shift_logits is False"):
        load(tmp_path / "m.gguf")
