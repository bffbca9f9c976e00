"""T5 in GGUF files: it comes back bit for bit, under the library's names; what llama.cpp would compute otherwise is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.model import Transformer
from cutaway.weights import checkpoint
from cutaway.weights.gguf import WRITABLE, load, save
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.places import Places
from tests import tiny
from tests.weights.test_gguf_masked import assert_equal_bits, library_names
from tests.weights.test_t5 import small
from tests.weights.translators import teacher_forced

DISTANCE = {"relative_attention_max_distance": 128}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "untied": True}
CASES: list[dict[str, Any]] = [
    GATED,
    {**GATED, "num_layers": 2, "num_decoder_layers": 2, "layer_norm_epsilon": 1e-3, "decoder_start_token_id": 3},
    {"feed_forward_proj": "relu", "untied": True, "scale_decoder_outputs": False},
]


def opened(directory: Path, **knobs: Any) -> Transformer:
    """A random model of transformers, opened as ours."""
    small(**{**DISTANCE, **knobs}).save_pretrained(directory)
    return checkpoint.load(directory)


@pytest.mark.parametrize("knobs", CASES, ids=range(3))
def test_a_model_comes_back_bit_for_bit(knobs: dict[str, Any], tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", **knobs)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    assert_equal_bits(load(tmp_path / "m.gguf").model, ours)


@pytest.mark.parametrize("scales", [True, False])
def test_a_tied_head_becomes_one_of_its_own(scales: bool, tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", scale_decoder_outputs=scales)
    assert ours.config.is_tied
    assert (ours.config.logit_scale == 14**-0.5) == scales
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    again = load(tmp_path / "m.gguf").model
    assert (again.config.is_tied, again.config.logit_scale) == (False, 1.0)
    tiny.assert_close(teacher_forced(again), teacher_forced(ours))
    for name, tensor in Places(ours).tensors.items():
        assert torch.equal(Places(again).tensors[name], tensor)
    save(tmp_path / "again.gguf", again, None, kind=WRITABLE["f32"])
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


def test_a_tied_file_of_others_has_the_scale_that_its_makers_trained_with(tmp_path: Path, monkeypatch: Any) -> None:
    ours = opened(tmp_path / "m")
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        del self.entries["output.weight"]

    monkeypatch.setattr(GgufFile, "__init__", changed)
    assert_equal_bits(load(tmp_path / "m.gguf").model, ours)


@pytest.mark.parametrize("kind", WRITABLE)
def test_every_kind_of_numbers_opens(kind: str, tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", **GATED, d_ff=64)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE[kind])
    with GgufFile(tmp_path / "m.gguf") as file:
        assert file.entries["enc.blk.0.ffn_down.weight"].kind.name == kind.upper()
        assert file.entries["dec.blk.0.attn_rel_b.weight"].kind.name == "F32"
    bound = {"f32": 0.0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 1 / 220, "q4_0": 1 / 7}[kind]  # of the largest number
    wanted = Places(ours).tensors
    for name, tensor in Places(load(tmp_path / "m.gguf").model).tensors.items():
        assert (tensor - wanted[name]).abs().max() <= bound * wanted[name].abs().max()


@pytest.mark.parametrize("knobs", CASES, ids=range(3))
def test_names_are_the_library_s(knobs: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", **knobs), None)
    with GgufFile(tmp_path / "m.gguf") as file:
        assert set(file.entries) <= library_names("t5", 3)
        assert file.metadata["t5.decoder_start_token_id"] == knobs.get("decoder_start_token_id", 0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"relative_attention_max_distance": 12}, r"position\.max_distance would be 128"),
        ({**GATED, "feed_forward_proj": "gated-silu"}, r"feedforward\.activation would be gelu_tanh"),
        ({**GATED, "feed_forward_proj": "gelu"}, r"feedforward\.activation would be relu"),
        ({"num_decoder_layers": 4}, "more layers than its encoder: they are 4 and 3 here"),
    ],
    ids=range(4),
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(knobs: dict[str, Any], message: str, tmp_path: Path) -> None:
    ours = opened(tmp_path / "m", **knobs)
    with pytest.raises(CutawayError, match=message):
        save(tmp_path / "m.gguf", ours, None)
    assert not (tmp_path / "m.gguf").exists()


def test_more_layers_than_tensors_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "m.gguf", opened(tmp_path / "m", **GATED), None)
    real = GgufFile.__init__

    def changed(self: GgufFile, path: Path) -> None:
        real(self, path)
        self.metadata["t5.decoder_block_count"] = 10**9

    monkeypatch.setattr(GgufFile, "__init__", changed)
    with pytest.raises(CutawayError, match=r"'t5\.decoder_block_count' is '1000000000'\. It takes at most"):
        load(tmp_path / "m.gguf")
