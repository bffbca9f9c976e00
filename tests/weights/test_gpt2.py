"""GPT-2 against transformers, offline, on tiny random weights with odd sizes: logits, greedy tokens, both directions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from cutaway.config import FeedForwardConfig, NormConfig, PositionConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.weights import checkpoint
from tests import tiny
from tests.weights.hostile import edit_json


def theirs(**knobs: Any) -> GPT2LMHeadModel:
    """A random GPT-2 of transformers: width 15, heads of width 5, hidden width 37; every weight random and large."""
    torch.manual_seed(3)
    usual = {"vocab_size": 31, "n_positions": 40, "n_embd": 15, "n_layer": 3, "n_head": 3, "n_inner": 37}
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    made = GPT2LMHeadModel(GPT2Config(**{**usual, **ids, **knobs})).eval()
    for parameter in made.parameters():
        parameter.data += 0.4 * torch.randn(parameter.shape)
    return made


def logits(model: Transformer, ids: Tensor) -> Tensor:
    """Ours: [batch, position, vocab]."""
    with torch.inference_mode():
        return model(ids, Call(visibility.causal(ids.shape[1])))


def greedy(model: Transformer, ids: Tensor, count: int) -> Tensor:
    """The most likely token, `count` times, without a cache."""
    for _ in range(count):
        ids = torch.cat([ids, logits(model, ids)[:, -1:].argmax(-1)], dim=1)
    return ids


KNOBS: list[dict[str, Any]] = [
    {},
    {"tie_word_embeddings": False},
    {"n_inner": None, "activation_function": "gelu"},
    {"activation_function": "relu", "layer_norm_epsilon": 1e-3},
    {"activation_function": "silu", "scale_attn_weights": False},
    {"reorder_and_upcast_attn": True, "eos_token_id": [2, 5], "pad_token_id": 4},
]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_theirs_opens_in_ours_and_back(knobs: dict[str, Any], tmp_path: Path) -> None:
    reference, ids = theirs(**knobs), tiny.ids(2, 23)
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    with torch.inference_mode():
        wanted = reference(ids).logits
    tiny.assert_close(logits(ours, ids), wanted)

    checkpoint.save(tmp_path / "ours", ours)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert isinstance(again, GPT2LMHeadModel)
    with torch.inference_mode():
        assert torch.equal(again(ids).logits, wanted)


def test_names_without_the_prefix(tmp_path: Path) -> None:
    reference, ids = theirs(), tiny.ids(1, 9)
    reference.transformer.save_pretrained(tmp_path)
    tiny.assert_close(logits(checkpoint.load(tmp_path), ids), reference(ids).logits.detach())


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_ours_answers_the_same_in_transformers(kind: Any, is_tied: bool, tmp_path: Path) -> None:
    stack = tiny.stack(
        position=PositionConfig(kind=kind, scale=0.3, base=700.0),
        feedforward=FeedForwardConfig(d_hidden=21, activation="gelu_tanh"),
        norm=NormConfig(eps=1e-4),
    )
    config = tiny.config(decoder=stack, is_tied=is_tied, tokens=TokenIds(bos=1, mask=3, decoder_start=4))
    ours, ids = tiny.model(config), tiny.ids(4, 7)
    checkpoint.save(tmp_path / "m", ours)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    with torch.inference_mode():
        tiny.assert_close(reference(ids).logits, logits(ours, ids))
        chosen = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False)
    assert torch.equal(chosen, greedy(ours, ids, 30))
    assert is_tied or len(set(chosen[:, 7:].flatten().tolist())) > 5, "tokens that do not vary prove nothing"


def test_a_sinusoidal_table_comes_back_as_one(tmp_path: Path) -> None:
    stack = tiny.stack(position=PositionConfig(scale=0.3, base=700.0))
    ours = tiny.model(tiny.config(decoder=stack, tokens=TokenIds(bos=1, eos=2, pad=0, mask=3)))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        checkpoint.save(tmp_path / "m", ours, dtype=dtype)
        again = checkpoint.load(tmp_path / "m")
        assert again.config == ours.config == checkpoint.read_config(tmp_path / "m")
        kept = again.decoder.embedding.position.weight
        assert torch.equal(kept, ours.decoder.embedding.position.weight.to(dtype).float())


def test_a_table_trained_elsewhere_counts(tmp_path: Path) -> None:
    ours, ids = tiny.model(tiny.config(tokens=TokenIds(mask=3))), tiny.ids(1, 9)
    checkpoint.save(tmp_path / "m", ours)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    reference.transformer.wpe.weight.data[3] += 0.01
    reference.save_pretrained(tmp_path / "tuned")
    tuned = checkpoint.load(tmp_path / "tuned")
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["cutaway"]["tokens"] == {"mask": 3}
    stack = ours.config.decoder
    assert tuned.config == replace(
        ours.config, decoder=replace(stack, position=replace(stack.position, kind="learned"))
    )
    tiny.assert_close(logits(tuned, ids), reference(ids).logits.detach())
    checkpoint.save(tmp_path / "again", tuned)
    assert checkpoint.load(tmp_path / "again").config == tuned.config


def test_an_id_beyond_the_vocabulary_has_no_role(tmp_path: Path) -> None:
    theirs(bos_token_id=50256, eos_token_id=None).save_pretrained(tmp_path)
    assert checkpoint.read_config(tmp_path).tokens == TokenIds()


@pytest.mark.parametrize("key", ["scale_attn_by_inverse_layer_idx", "add_cross_attention"])
def test_what_no_knob_does_is_refused(key: str, tmp_path: Path) -> None:
    theirs().save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: True})
    with pytest.raises(CutawayError, match=f"{key}.*no knob"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_layer", "two", "'n_layer' is 'two'. It takes a whole number"),
        ("n_layer", True, "whole number"),
        ("n_head", 4, "does not divide d_model"),
        ("n_embd", 10**15 + 1, "does not divide"),
        ("n_positions", 0, "context is 0"),
        ("activation_function", "glue", "'glue'. It takes one of gelu"),
        ("layer_norm_epsilon", "small", "takes a number"),
        ("tie_word_embeddings", 1, "true or false"),
        ("bos_token_id", "x", "token id"),
        ("cutaway", [], "takes a table"),
        ("cutaway", {"decoder": {"num_layers": 2}}, "contradicts itself"),
        ("cutaway", {"decoder": {"placement": "post"}}, "decoder.placement is 'post'"),
        ("cutaway", {"decoder": {"positions": {}}}, "Did you mean 'position'"),
    ],
)
def test_a_wrong_key_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    theirs().save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(tmp_path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    theirs().save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    del data["n_layer"]
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(CutawayError, match="no key 'n_layer'"):
        checkpoint.load(tmp_path)
