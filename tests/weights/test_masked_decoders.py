"""LLaDA and Dream against a twin written out from their papers, on checkpoints made here under their makers' names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cutaway.errors import CutawayError
from cutaway.model import Call, visibility
from cutaway.weights import checkpoint
from tests import tiny
from tests.reference import masked_decoders as twin
from tests.weights.hostile import edit_json

SIZES = twin.Sizes(num_layers=3, num_heads=4, num_kv_heads=2, eps=1e-4, base=700.0)
WIDTH, HIDDEN = 24, 37
LLADA: dict[str, Any] = {
    "model_type": "llada",
    "block_type": "llama",
    "layer_norm_type": "rms",
    "d_model": WIDTH,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "mlp_hidden_size": HIDDEN,
    "activation_type": "silu",
    "vocab_size": tiny.VOCAB,
    "embedding_size": tiny.VOCAB,
    "max_sequence_length": 40,
    "rms_norm_eps": 1e-4,
    "rope_theta": 700.0,
    "weight_tying": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "mask_token_id": 3,
}
DREAM: dict[str, Any] = {
    "model_type": "Dream",
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": HIDDEN,
    "hidden_act": "silu",
    "vocab_size": tiny.VOCAB,
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-4,
    "rope_theta": 700.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "mask_token_id": 3,
}
BOTH = pytest.mark.parametrize(
    ("config", "names", "has_bias"), [(LLADA, twin.LLADA, False), (DREAM, twin.DREAM, True)], ids=["LLaDA", "Dream"]
)


def made(directory: Path, config: dict[str, Any], names: dict[str, str], has_bias: bool) -> dict[str, Tensor]:
    """A checkpoint of random weights in a directory, and the weights."""
    torch.manual_seed(3)
    shapes = {"q": (WIDTH, WIDTH), "k": (12, WIDTH), "v": (12, WIDTH), "o": (WIDTH, WIDTH)}
    shapes |= {"gate": (HIDDEN, WIDTH), "up": (HIDDEN, WIDTH), "down": (WIDTH, HIDDEN)}
    weights = {names[part]: 0.4 * torch.randn(tiny.VOCAB, WIDTH) for part in ("embedding", "head")}
    weights[names["norm"]] = 1 + 0.3 * torch.randn(WIDTH)
    for layer in range(3):
        block = names["block"].format(layer)
        for part, shape in shapes.items():
            weights[f"{block}{names[part]}.weight"] = 0.4 * torch.randn(shape)
            if has_bias and part in "qkv":
                weights[f"{block}{names[part]}.bias"] = 0.4 * torch.randn(shape[0])
        for part in ("first_norm", "second_norm"):
            weights[f"{block}{names[part]}.weight"] = 1 + 0.3 * torch.randn(WIDTH)
    directory.mkdir()
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))
    return weights


@BOTH
def test_theirs_opens_in_ours_and_back(
    config: dict[str, Any], names: dict[str, str], has_bias: bool, tmp_path: Path
) -> None:
    weights = made(tmp_path / "theirs", config, names, has_bias)
    ours, ids = checkpoint.load(tmp_path / "theirs"), tiny.ids(2, 13)
    with torch.inference_mode():
        found = ours(ids, Call(visibility.full(13)))
    tiny.assert_close(found, twin.logits(weights, names, SIZES, ids))
    assert ours.config.tokens.mask == 3
    assert ours.config.predicts == {"llada": "masked", "Dream": "masked_next"}[config["model_type"]]

    checkpoint.save(tmp_path / "ours", ours)
    again = load_file(tmp_path / "ours" / "model.safetensors")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert {key: written.get(key) for key in config} == config
    assert checkpoint.load(tmp_path / "ours").config == ours.config


@BOTH
def test_lengths_in_a_batch_change_no_answer(
    config: dict[str, Any], names: dict[str, str], has_bias: bool, tmp_path: Path
) -> None:
    made(tmp_path / "m", config, names, has_bias)
    ours, ids, lengths = checkpoint.load(tmp_path / "m"), tiny.ids(1, 12), [7, 12, 4]
    rows = [torch.cat([torch.zeros(12 - n, dtype=torch.long), ids[0, :n]]) for n in lengths]
    with torch.inference_mode():
        padded = ours(torch.stack(rows), Call(visibility.padded(lengths, 12, is_causal=False, left=True)))
        for row, length in enumerate(lengths):
            alone = ours(ids[:, :length], Call(visibility.full(length)))
            tiny.assert_close(padded[row, 12 - length :].unsqueeze(0), alone)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("alibi", True, "no knob"),
        ("block_type", "sequential", "'llama' only"),
        ("n_heads", 5, "must divide evenly"),
        ("mask_token_id", "m", "takes a token id"),
    ],
)
def test_a_wrong_key_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    made(tmp_path / "m", LLADA, twin.LLADA, False)
    edit_json(tmp_path / "m" / "config.json", **{key: value})
    with pytest.raises(CutawayError, match=message):
        checkpoint.load(tmp_path / "m")
