"""T5, T5 1.1 and mT5 against transformers, offline, on tiny random weights whose heads do not add up to the width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForSeq2SeqLM,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from cutaway.config import AttentionConfig, FeedForwardConfig, NormConfig, PositionConfig, StackConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from cutaway.weights.families import family_of
from tests import tiny
from tests.weights import theirs
from tests.weights.hostile import edit_json
from tests.weights.translators import assert_greedy_alike, assert_steps_equal_the_pass, assert_the_same, teacher_forced

SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "d_model": 14,
    "d_kv": 3,
    "d_ff": 21,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
KNOBS: list[dict[str, Any]] = [
    {"feed_forward_proj": "relu"},
    {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    {"feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-3, "num_decoder_layers": 4},
    {"feed_forward_proj": "gated-silu", "d_kv": 7, "num_heads": 2},
    {"feed_forward_proj": "gelu", "d_kv": 1},
]


def small(*, multilingual: bool = False, untied: bool = False, **knobs: Any) -> Any:
    """A random model of transformers; untied: its head has numbers of its own."""
    kinds = (MT5Config, MT5ForConditionalGeneration) if multilingual else (T5Config, T5ForConditionalGeneration)
    made: Any = theirs.random(kinds[1], kinds[0](**{**SIZES, **knobs}), size=0.3)
    if untied:
        made.lm_head.weight = torch.nn.Parameter(0.5 * torch.randn(31, 14), requires_grad=False)
    return made


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("knobs", [*KNOBS, {"multilingual": True}], ids=str)
def test_theirs_opens_and_goes_back(knobs: dict[str, Any], untied: bool, tmp_path: Path) -> None:
    reference = small(untied=untied, **knobs)
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    assert ours.config.is_tied != untied
    assert_the_same(ours, reference)
    assert_steps_equal_the_pass(ours)

    checkpoint.save(tmp_path / "ours", ours)
    assert_the_same(ours, theirs.opened(AutoModelForSeq2SeqLM, tmp_path / "ours"))
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")
    assert checkpoint.load(tmp_path / "ours").config == ours.config == checkpoint.read_config(tmp_path / "ours")


def test_greedy_tokens_are_the_same(tmp_path: Path) -> None:
    reference = small()
    reference.decoder.final_layer_norm.weight.neg_()  # a tied model that disliked nothing would say one word for ever
    reference.save_pretrained(tmp_path)
    assert_greedy_alike(checkpoint.load(tmp_path), reference)


def test_an_old_checkpoint_says_that_its_head_is_its_own(tmp_path: Path) -> None:
    """As Flan-T5 was released: tie_word_embeddings false, so unscaled too; copies of the embedding; a bias of no use."""
    reference = small(untied=True, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
    reference.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    del data["scale_decoder_outputs"]
    (tmp_path / "config.json").write_text(json.dumps({**data, "tie_word_embeddings": False}))
    tensors = theirs.stored(tmp_path)
    copies = {f"{stack}.embed_tokens.weight": tensors["shared.weight"].clone() for stack in ("encoder", "decoder")}
    unused = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.zeros(8, 4)}
    save_file({**tensors, **copies, **unused}, tmp_path / "model.safetensors")
    ours = checkpoint.load(tmp_path)
    assert not ours.config.is_tied
    assert ours.config.logit_scale == 1.0
    assert_the_same(ours, reference)


def test_a_tied_head_stored_twice_stays_tied(tmp_path: Path) -> None:
    reference = small()
    reference.save_pretrained(tmp_path)
    tensors = theirs.stored(tmp_path)
    save_file({**tensors, "lm_head.weight": tensors["shared.weight"].clone()}, tmp_path / "model.safetensors")
    ours = checkpoint.load(tmp_path)
    assert ours.config.is_tied
    assert_the_same(ours, reference)


def test_a_head_of_another_type_is_its_own(tmp_path: Path) -> None:
    reference = small()
    reference.save_pretrained(tmp_path)
    tensors = theirs.stored(tmp_path)
    save_file({**tensors, "lm_head.weight": tensors["shared.weight"].half()}, tmp_path / "model.safetensors")
    assert not checkpoint.load(tmp_path).config.is_tied


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("is_gated", [True, False])
def test_ours_answers_the_same_in_transformers(is_gated: bool, is_tied: bool, tmp_path: Path) -> None:
    def stack(*, bidirectional: bool, **knobs: Any) -> StackConfig:
        return tiny.stack(
            attention=AttentionConfig(num_heads=4, d_head=5, bias=False, output_bias=False, scale=1.0),
            feedforward=FeedForwardConfig(d_hidden=21, is_gated=is_gated, bias=False, activation=activation),
            norm=NormConfig(kind="rms", eps=1e-4),
            position=PositionConfig(kind="relative", num_buckets=8, max_distance=12, bidirectional=bidirectional),
            **knobs,
        )

    activation: Any = "gelu_tanh" if is_gated else "relu"
    stacks = {"encoder": stack(bidirectional=True), "decoder": stack(bidirectional=False, num_layers=3)}
    ids = TokenIds(pad=0, eos=1, mask=5, decoder_start=0)
    ours = tiny.model(tiny.config(**stacks, is_tied=is_tied, logit_scale=0.25 if is_tied else 1.0, tokens=ids))
    assert family_of(ours.config).model_type == "t5"
    checkpoint.save(tmp_path, ours)
    assert_the_same(ours, theirs.opened(AutoModelForSeq2SeqLM, tmp_path))
    assert checkpoint.load(tmp_path).config == ours.config


def test_the_bias_of_the_first_layer_serves_all(tmp_path: Path) -> None:
    reference = small()
    reference.save_pretrained(tmp_path)
    ours = checkpoint.load(tmp_path)
    plain = teacher_forced(ours)
    assert ours.decoder is not None
    ours.decoder.bias["for_full"].weight.data.zero_()
    assert not torch.allclose(teacher_forced(ours), plain, atol=1e-2), "the bias must be heard"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("feed_forward_proj", "gated-glue", "'glue'. It takes one of gelu"),
        ("feed_forward_proj", 3, "takes one of gelu"),
        ("d_kv", 0, "d_head is 0"),
        ("relative_attention_max_distance", 4, "max_distance is 4"),
        ("d_model", 0, "d_model is 0"),
        ("d_model", -4, "d_model is -4"),
        ("num_layers", None, "whole number"),
        ("relative_attention_num_buckets", 2, "num_buckets is 2"),
        ("tie_word_embeddings", "yes", "true or false"),
        ("scale_decoder_outputs", 3, "true or false"),
    ],
)
def test_a_wrong_key_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    small().save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(tmp_path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)
