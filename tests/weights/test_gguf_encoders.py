"""BERT and RoBERTa in GGUF files: they come back bit for bit, under the library's names; what llama.cpp has not is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import Tensor

from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.weights import checkpoint
from cutaway.weights.gguf import WRITABLE, load, save
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.places import Places
from tests import tiny
from tests.weights import theirs
from tests.weights.test_bert import FAMILIES, config, families
from tests.weights.test_gguf_masked import assert_equal_bits, library_names


def opened(
    directory: Path, family: str, *, has_head: bool = False, has_pooler: bool = True, size: float = 0.4, **knobs: Any
) -> Transformer:
    """A random model of transformers, opened as ours."""
    kind = FAMILIES[family][1 if has_head else 2]
    chosen = {} if has_head else {"add_pooling_layer": has_pooler}
    made = theirs.random(lambda sizes: kind(sizes, **chosen), config(family, **knobs), size=size)  # type: ignore[arg-type]
    made.save_pretrained(directory)
    return checkpoint.load(directory)


@torch.inference_mode()
def states(model: Transformer, ids: Tensor) -> Tensor:
    """[batch, position, d_model]."""
    return model.states(ids, Call(visibility.full(ids.shape[1])))


@torch.inference_mode()
def pooled(model: Transformer, ids: Tensor) -> Tensor:
    """[batch, d_model]."""
    return model.pooled(states(model, ids), Call(visibility.full(ids.shape[1])))


@pytest.mark.parametrize("has_pooler", [True, False])
def test_bert_comes_back_bit_for_bit(has_pooler: bool, tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", "bert", has_pooler=has_pooler)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    again = load(tmp_path / "m.gguf").model
    assert_equal_bits(again, ours)
    assert again.config.has_pooler == has_pooler


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_roberta_is_bert_without_the_rows_that_no_token_takes(family: str, tmp_path: Path) -> None:
    ours, ids = opened(tmp_path / "m", family, type_vocab_size=1), tiny.ids(2, 17)
    assert ours.config.main.position.offset > 0
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    again = load(tmp_path / "m.gguf").model
    assert torch.equal(states(again, ids), states(ours, ids))
    assert torch.equal(pooled(again, ids), pooled(ours, ids))
    assert again.config.context == ours.config.context
    assert again.config.tokens == ours.config.tokens
    save(tmp_path / "again.gguf", again, None, kind=WRITABLE["f32"])
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


@pytest.mark.parametrize("kind", WRITABLE)
def test_every_kind_of_numbers_opens(kind: str, tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", "bert", hidden_size=96, intermediate_size=64)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE[kind])
    with GgufFile(tmp_path / "m.gguf") as file:
        assert file.entries["token_types.weight"].kind.name == "F32"
        assert file.entries["blk.0.ffn_up.weight"].kind.name == kind.upper()
    bound = {"f32": 0.0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 1 / 220, "q4_0": 1 / 7}[kind]  # of the largest number
    wanted = Places(ours).tensors
    for name, tensor in Places(load(tmp_path / "m.gguf").model).tensors.items():
        assert (tensor - wanted[name]).abs().max() <= bound * wanted[name].abs().max()


@families
def test_names_are_the_library_s(family: str, tmp_path: Path) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", family), None)
    with GgufFile(tmp_path / "m.gguf") as file:
        held, keys = set(file.entries), file.metadata
    assert held <= library_names("bert", 3)
    assert keys["bert.attention.causal"] is False
    assert keys["bert.pooling_type"] == gguf.PoolingType.MEAN
    assert keys["tokenizer.ggml.token_type_count"] == 2


def test_a_file_without_our_key_has_the_pooler_that_its_tensors_say(tmp_path: Path, monkeypatch: Any) -> None:
    ours = opened(tmp_path / "m", "bert", has_pooler=False)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        del self.metadata["cutaway.knobs"]

    monkeypatch.setattr(GgufFile, "__init__", changed)
    assert_equal_bits(load(tmp_path / "m.gguf").model, ours)


def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", "bert")
    feedforward = replace(ours.config.main.feedforward, activation="gelu_tanh")
    other = replace(ours.config, encoder=replace(ours.config.main, feedforward=feedforward))
    for model, message in (
        (opened(tmp_path / "head", "bert", has_head=True), "has no head that fills in masks"),
        (opened(tmp_path / "roberta", "roberta", has_head=True), "has no head that fills in masks"),
        (tiny.model(other), r"feedforward\.activation would be gelu"),
    ):
        with pytest.raises(CutawayError, match=message):
            save(tmp_path / "m.gguf", model, None)
    assert not (tmp_path / "m.gguf").exists()


def test_a_file_without_types_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", "bert"), None)
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        del self.entries["token_types.weight"]

    monkeypatch.setattr(GgufFile, "__init__", changed)
    with pytest.raises(CutawayError, match=r"m\.gguf holds no matrix token_types\.weight"):
        load(tmp_path / "m.gguf")
