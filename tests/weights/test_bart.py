"""BART and Marian against transformers, offline, on tiny random weights whose stacks differ in depth, heads and width inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSeq2SeqLM, BartConfig, BartForConditionalGeneration, MarianConfig, MarianMTModel

from cutaway.config import AttentionConfig, FeedForwardConfig, PositionConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from cutaway.weights.families import family_of
from tests import tiny
from tests.weights import theirs
from tests.weights.hostile import edit_json
from tests.weights.translators import assert_greedy_alike, assert_steps_equal_the_pass, assert_the_same

SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "d_model": 18,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 37,
    "decoder_ffn_dim": 21,
    "max_position_embeddings": 13,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": 1,
}
FAMILIES: dict[str, tuple[type[Any], type[Any]]] = {
    "bart": (BartConfig, BartForConditionalGeneration),
    "marian": (MarianConfig, MarianMTModel),
}
KNOBS: list[dict[str, Any]] = [
    {},
    {"scale_embedding": True, "activation_function": "swish"},
    {"activation_function": "relu", "encoder_layers": 1},
]
BIAS = "final_logits_bias"
families = pytest.mark.parametrize("family", FAMILIES)


def small(family: str, *, size: float = 0.4, **knobs: Any) -> Any:
    kind, model = FAMILIES[family]
    return theirs.random(model, kind(**{**SIZES, **knobs}), size=size)


@families
@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_theirs_opens_and_goes_back(family: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    reference = small(family, **knobs)
    assert reference.final_logits_bias.std() > 0.1
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    assert_the_same(ours, reference)
    assert_steps_equal_the_pass(ours)

    checkpoint.save(tmp_path / "ours", ours)
    assert_the_same(ours, theirs.opened(AutoModelForSeq2SeqLM, tmp_path / "ours"))
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")
    assert checkpoint.load(tmp_path / "ours").config == ours.config == checkpoint.read_config(tmp_path / "ours")


@families
def test_greedy_tokens_are_the_same(family: str, tmp_path: Path) -> None:
    reference = small(family, size=0.15, scale_embedding=True)
    last = reference.model.decoder.layers[-1].final_layer_norm
    last.bias.zero_()
    last.weight.neg_()  # a tied model that disliked nothing would say one word for ever
    reference.save_pretrained(tmp_path)
    assert_greedy_alike(checkpoint.load(tmp_path), reference)


@families
def test_a_bias_may_be_missing(family: str, tmp_path: Path) -> None:
    reference = small(family)
    reference.final_logits_bias.zero_()
    reference.save_pretrained(tmp_path / "theirs")
    tensors = {name: tensor for name, tensor in theirs.stored(tmp_path / "theirs").items() if name != BIAS}
    save_file(tensors, tmp_path / "theirs" / "model.safetensors")
    ours = checkpoint.load(tmp_path / "theirs")
    assert not ours.config.head_bias
    assert_the_same(ours, reference)
    checkpoint.save(tmp_path / "ours", ours)
    assert checkpoint.load(tmp_path / "ours").config == ours.config == checkpoint.read_config(tmp_path / "ours")
    assert_the_same(ours, theirs.opened(AutoModelForSeq2SeqLM, tmp_path / "ours"))


@families
def test_an_older_file_repeats_what_is_tied_and_holds_the_tables(family: str, tmp_path: Path) -> None:
    reference = small(family)
    reference.save_pretrained(tmp_path)
    tensors = dict(reference.state_dict())
    assert {
        "lm_head.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_positions.weight",
    } <= tensors.keys()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    ours = checkpoint.load(tmp_path)
    assert ours.config == checkpoint.read_config(tmp_path)
    assert_the_same(ours, reference)


def test_a_copy_of_another_type_is_refused(tmp_path: Path) -> None:
    small("bart").save_pretrained(tmp_path)
    tensors = theirs.stored(tmp_path)
    save_file({**tensors, "lm_head.weight": tensors["model.shared.weight"].half()}, tmp_path / "model.safetensors")
    with pytest.raises(CutawayError, match=r"lm_head\.weight and model\.shared\.weight differ"):
        checkpoint.load(tmp_path)


def test_names_without_the_prefix(tmp_path: Path) -> None:
    """As facebook/bart-base was released: the model without its head, which is the embedding."""
    reference = small("bart")
    reference.final_logits_bias.zero_()
    reference.model.save_pretrained(tmp_path)
    assert_the_same(checkpoint.load(tmp_path), reference)


@pytest.mark.parametrize("has_bias", [True, False])
@families
def test_ours_answers_the_same_in_transformers(family: str, has_bias: bool, tmp_path: Path) -> None:
    positions = {"bart": PositionConfig(kind="learned", offset=2), "marian": PositionConfig(halved=True)}
    usual = {"placement": "post", "position": positions[family], "has_final_norm": False}
    usual["has_embedding_norm"] = family == "bart"
    network = FeedForwardConfig(d_hidden=21, activation="gelu_tanh")
    encoder = tiny.stack(**usual, feedforward=network, attention=AttentionConfig(num_heads=2))
    decoder = tiny.stack(**usual, feedforward=network, num_layers=3)
    ids = TokenIds(pad=0, eos=1, mask=5, decoder_start=0)
    knobs = {"is_tied": True, "head_bias": has_bias, "embedding_scale": 4.0, "tokens": ids}
    ours = tiny.model(tiny.config(encoder=encoder, decoder=decoder, **knobs))
    assert family_of(ours.config).model_type == family
    checkpoint.save(tmp_path, ours)
    assert_the_same(ours, theirs.opened(AutoModelForSeq2SeqLM, tmp_path))
    assert checkpoint.load(tmp_path).config == ours.config


def test_a_short_type_leaves_the_sines_as_they_are(tmp_path: Path) -> None:
    ours = tiny.model(checkpoint.read_config(_saved("marian", tmp_path / "theirs")))
    checkpoint.save(tmp_path / "ours", ours, dtype=torch.bfloat16)
    assert not any("embed_positions" in name for name in theirs.stored(tmp_path / "ours"))
    for model in (checkpoint.load(tmp_path / "theirs"), checkpoint.load(tmp_path / "ours")):
        assert model.decoder is not None
        assert ours.decoder is not None
        assert torch.equal(model.decoder.embedding.position.weight, ours.decoder.embedding.position.weight)


def _saved(family: str, path: Path) -> Path:
    small(family).save_pretrained(path)
    return path


@families
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tie_word_embeddings", False, "no knob"),
        ("is_decoder", True, "no knob"),
        ("architectures", ["BartForCausalLM"], "takes one of"),
        ("d_model", -2, "d_model is -2"),
        ("decoder_layers", "two", "whole number"),
        ("decoder_attention_heads", 4, "does not divide d_model"),
        ("max_position_embeddings", 0, "context is 0"),
        ("scale_embedding", 3, "true or false"),
        ("activation_function", "glue", "takes one of gelu"),
    ],
)
def test_a_wrong_key_is_named(family: str, key: str, value: object, message: str, tmp_path: Path) -> None:
    small(family).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(tmp_path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("share_encoder_decoder_embeddings", False), ("decoder_vocab_size", 30)])
def test_two_vocabularies_are_refused(key: str, value: object, tmp_path: Path) -> None:
    small("marian").save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError, match=rf"'{key}' is.*no knob"):
        checkpoint.load(tmp_path)
