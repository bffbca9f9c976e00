"""BERT and RoBERTa against transformers, offline, on tiny random weights with odd sizes: both directions, heads and poolers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForQuestionAnswering,
    XLMRobertaModel,
)

from cutaway.config import FeedForwardConfig, NormConfig, PositionConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.weights import checkpoint
from cutaway.weights.families import family_of
from tests import tiny
from tests.weights import theirs
from tests.weights.hostile import edit_json

SIZES = {"vocab_size": 31, "hidden_size": 15, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 37}
PAD = 4  # no id of a text, so that RoBERTa, which looks for it, counts positions as we do
FAMILIES: dict[str, tuple[type[Any], type[Any], type[Any]]] = {
    "bert": (BertConfig, BertForMaskedLM, BertModel),
    "roberta": (RobertaConfig, RobertaForMaskedLM, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaModel),
}
SPANS: dict[str, type[Any]] = {
    "bert": BertForQuestionAnswering,
    "roberta": RobertaForQuestionAnswering,
    "xlm-roberta": XLMRobertaForQuestionAnswering,
}
KNOBS: list[dict[str, Any]] = [
    {},
    {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    {"hidden_act": "relu", "type_vocab_size": 1},
]
families = pytest.mark.parametrize("family", FAMILIES)


def config(family: str, **knobs: Any) -> Any:
    return FAMILIES[family][0](**{**SIZES, "max_position_embeddings": 40, "pad_token_id": PAD, **knobs})


def ids(batch: int, length: int) -> Tensor:
    """Random ids without padding: [batch, position]."""
    return torch.where(tiny.ids(batch, length) == PAD, PAD + 1, tiny.ids(batch, length))


@torch.inference_mode()
def logits(model: Transformer, ids: Tensor, **call: Any) -> Tensor:
    return model(ids, Call(visibility.full(ids.shape[1]), **call))


@families
@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_a_masked_model_opens_and_goes_back(family: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    reference, text = theirs.random(FAMILIES[family][1], config(family, **knobs)), ids(2, 17)
    reference.save_pretrained(tmp_path / "theirs")
    ours, wanted = checkpoint.load(tmp_path / "theirs"), reference(text).logits
    tiny.assert_close(logits(ours, text), wanted)

    checkpoint.save(tmp_path / "ours", ours)
    assert torch.equal(theirs.opened(AutoModelForMaskedLM, tmp_path / "ours")(text).logits, wanted)
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")
    assert checkpoint.load(tmp_path / "ours").config == ours.config


@families
def test_the_encoder_alone_opens_and_goes_back(family: str, tmp_path: Path) -> None:
    reference, text = theirs.random(FAMILIES[family][2], config(family)), ids(2, 17)
    reference.save_pretrained(tmp_path / "theirs")
    ours, wanted, call = checkpoint.load(tmp_path / "theirs"), reference(text), Call(visibility.full(17))
    states = ours.states(text, call)
    tiny.assert_close(states, wanted.last_hidden_state)
    tiny.assert_close(ours.pooled(states, call), wanted.pooler_output)

    checkpoint.save(tmp_path / "ours", ours)
    again = theirs.opened(AutoModel, tmp_path / "ours")(text)
    assert torch.equal(again.pooler_output, wanted.pooler_output)
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")


@families
def test_a_model_that_marks_answers_opens_and_goes_back(family: str, tmp_path: Path) -> None:
    reference, text = theirs.random(SPANS[family], config(family)), ids(2, 17)
    reference.save_pretrained(tmp_path / "theirs")
    ours, wanted, call = checkpoint.load(tmp_path / "theirs"), reference(text), Call(visibility.full(17))
    begins, ends = ours.labelled(ours.states(text, call), call).unbind(-1)
    tiny.assert_close(begins, wanted.start_logits)
    tiny.assert_close(ends, wanted.end_logits)

    checkpoint.save(tmp_path / "ours", ours)
    again = theirs.opened(AutoModelForQuestionAnswering, tmp_path / "ours")(text)
    assert torch.equal(again.end_logits, wanted.end_logits)
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")
    assert checkpoint.load(tmp_path / "ours").config == ours.config


@families
def test_without_a_pooler(family: str, tmp_path: Path) -> None:
    reference = theirs.random(lambda c: FAMILIES[family][2](c, add_pooling_layer=False), config(family))  # type: ignore[arg-type]
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    tiny.assert_close(ours.states(ids(2, 9), Call(visibility.full(9))), reference(ids(2, 9)).last_hidden_state)
    with pytest.raises(CutawayError, match="no pooler"):
        ours.pooled(torch.zeros(1, 1, 15), Call(visibility.full(1)))
    checkpoint.save(tmp_path / "ours", ours)
    assert checkpoint.load(tmp_path / "ours").config == ours.config == checkpoint.read_config(tmp_path / "ours")
    theirs.assert_equal_bits(tmp_path / "ours", tmp_path / "theirs")


@families
@pytest.mark.parametrize("left", [False, True])
def test_a_padded_batch_equals_its_texts_alone(family: str, left: bool, tmp_path: Path) -> None:
    """And theirs, which is told by a mask; its BERT counts positions through left padding too, so is not asked there."""
    reference, text, lengths = theirs.random(FAMILIES[family][1], config(family)), ids(3, 9), (9, 4, 6)
    reference.save_pretrained(tmp_path)
    ours = checkpoint.load(tmp_path)
    mask = torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, slice(9 - length, 9) if left else slice(length)] = 1
    padded = text.masked_fill(mask == 0, PAD)
    with torch.inference_mode():
        found = ours(padded, Call(visibility.padded(lengths, 9, is_causal=False, left=left)))
        wanted = reference(padded, attention_mask=mask).logits
    for row in range(3):
        inside = mask[row] == 1
        tiny.assert_close(found[row][inside], logits(ours, text[row : row + 1, inside])[0])
        if family != "bert" or not left:
            tiny.assert_close(found[row][inside], wanted[row][inside])


def test_types_of_tokens_are_told_by_the_call(tmp_path: Path) -> None:
    reference, text = theirs.random(BertForMaskedLM, config("bert")), ids(2, 9)
    reference.save_pretrained(tmp_path)
    types = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0, 0]).expand(2, -1)
    ours = checkpoint.load(tmp_path)
    told = logits(ours, text, types=types)
    tiny.assert_close(told, reference(text, token_type_ids=types).logits)
    assert not torch.allclose(told, logits(ours, text), atol=1e-2)


def test_a_pretraining_checkpoint_in_its_old_spelling(tmp_path: Path) -> None:
    """With gamma and beta, a pooler, a head for the next sentence, and copies of what is tied."""
    reference, text = theirs.random(BertForPreTraining, config("bert")), ids(2, 9)
    reference.save_pretrained(tmp_path)
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in theirs.stored(tmp_path).items()
    }
    copy = tensors["bert.embeddings.word_embeddings.weight"].clone()
    places = torch.arange(40.0).unsqueeze(0)
    extra = {"cls.predictions.decoder.weight": copy, "bert.embeddings.position_ids": places}
    save_file({**tensors, **extra}, tmp_path / "model.safetensors")
    tiny.assert_close(logits(checkpoint.load(tmp_path), text), reference(text).prediction_logits)


@pytest.mark.parametrize("knobs", [{}, {"has_head": False}, {"has_head": False, "has_pooler": True}], ids=str)
@pytest.mark.parametrize("offset", [0, 3])
def test_ours_answers_the_same_in_transformers(offset: int, knobs: dict[str, Any], tmp_path: Path) -> None:
    stack = tiny.stack(
        placement="post",
        position=PositionConfig(kind="learned", offset=offset),
        feedforward=FeedForwardConfig(d_hidden=21, activation="gelu"),
        norm=NormConfig(eps=1e-4),
        has_embedding_norm=True,
        has_final_norm=False,
        num_token_types=3,
    )
    tokens = TokenIds(bos=1, mask=3, pad=offset - 1 if offset else None)
    head = knobs or {"head_bias": True, "head_transform": "gelu"}
    ours = tiny.model(tiny.config(encoder=stack, is_tied=True, tokens=tokens, **head))
    assert family_of(ours.config).model_type == ("roberta" if offset else "bert")
    text = tiny.ids(2, 7).clamp_min(3)
    checkpoint.save(tmp_path, ours)
    reference = (AutoModelForMaskedLM if not knobs else AutoModel).from_pretrained(tmp_path).eval()
    states = ours.states(text, Call(visibility.full(7)))
    with torch.inference_mode():
        found = reference(text)
    if not knobs:
        tiny.assert_close(found.logits, logits(ours, text))
    else:
        tiny.assert_close(found.last_hidden_state, states)
    if "has_pooler" in knobs:
        tiny.assert_close(found.pooler_output, ours.pooled(states, Call(visibility.full(7))))
    assert checkpoint.load(tmp_path).config == ours.config


@families
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("position_embedding_type", "relative_key", "no knob"),
        ("is_decoder", True, "no knob"),
        ("tie_word_embeddings", False, "no knob"),
        ("architectures", ["BertForTokenClassification"], "takes one of"),
        ("architectures", "BertModel", "takes one of"),
        ("architectures", [["BertModel"]], "takes one of"),
        ("hidden_size", "wide", "whole number"),
        ("num_attention_heads", 4, "does not divide d_model"),
        ("max_position_embeddings", 0, "context is"),
        ("type_vocab_size", -1, "num_token_types is -1"),
        ("hidden_act", "glue", "takes one of gelu"),
    ],
)
def test_a_wrong_key_is_named(family: str, key: str, value: object, message: str, tmp_path: Path) -> None:
    theirs.random(FAMILIES[family][1], config(family)).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{key: value})
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(tmp_path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


@families
def test_a_missing_head_is_named(family: str, tmp_path: Path) -> None:
    theirs.random(FAMILIES[family][2], config(family)).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", architectures=[FAMILIES[family][1].__name__])
    with pytest.raises(CutawayError, match=r"missing: .*dense"):
        checkpoint.load(tmp_path)
