"""Beam search against transformers, offline: tokens, n-best lists and scores, on small random models that end by themselves."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
)

from cutaway.decode import Beam, Constraints, Hypothesis, Session, hypotheses, hypotheses_of_sources
from cutaway.model import Transformer
from cutaway.weights import checkpoint
from tests import tiny
from tests.weights import theirs

NUM_SOURCES, LONGEST, MAX_TOKENS = 50, 9, 12
EOS = 2
SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "d_model": 18,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 40,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "forced_eos_token_id": None,
    "scale_embedding": True,
}
T5_SIZES: dict[str, Any] = {"vocab_size": 31, "d_model": 18, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 3}
# What a family begins its texts with: the end id (BART), padding at the front of the vocabulary (T5) or at its end (Marian).
MODELS: dict[str, tuple[Any, Any]] = {
    "t5": (
        T5ForConditionalGeneration,
        T5Config(**T5_SIZES, pad_token_id=0, eos_token_id=EOS, decoder_start_token_id=0),
    ),
    "bart": (BartForConditionalGeneration, BartConfig(**SIZES, pad_token_id=1, decoder_start_token_id=EOS)),
    "marian": (MarianMTModel, MarianConfig(**SIZES, pad_token_id=30, decoder_start_token_id=30)),
}
SETTINGS: dict[str, tuple[Beam, dict[str, Any]]] = {
    "greedy": (Beam(num_beams=1), {}),
    "two, sum of logs": (Beam(num_beams=2, num_return=2, length_penalty=0.0), {}),
    "three, early": (Beam(num_beams=3, num_return=2, length_penalty=0.6, early_stopping=True), {}),
    "four": (Beam(num_beams=4, num_return=3), {}),
    "four, never early": (Beam(num_beams=4, num_return=4, length_penalty=2.0, early_stopping="never"), {}),
    "five, short": (Beam(num_beams=5, num_return=1, length_penalty=-1.0, early_stopping="never"), {}),
    "six, no repeats": (
        Beam(num_beams=6, num_return=6, constraints=Constraints(no_repeat=2, min_tokens=4)),
        {"no_repeat_ngram_size": 2, "min_new_tokens": 4},
    ),
    "three, forced": (
        Beam(
            num_beams=3, num_return=3, length_penalty=0.6, constraints=Constraints(no_repeat=3, first_id=7, last_id=EOS)
        ),
        {"no_repeat_ngram_size": 3, "forced_bos_token_id": 7, "forced_eos_token_id": EOS},
    ),
    "four, penalty": (
        Beam(num_beams=4, num_return=2, repetition_penalty=1.3, constraints=Constraints(banned_ids=(5, 6))),
        {"repetition_penalty": 1.3, "bad_words_ids": [[5], [6]]},
    ),
    "five, early, long": (
        Beam(num_beams=5, num_return=5, length_penalty=2.0, early_stopping=True, constraints=Constraints(min_tokens=6)),
        {"min_new_tokens": 6},
    ),
}
families = pytest.mark.parametrize("family", MODELS)
settings = pytest.mark.parametrize("name", SETTINGS)


@lru_cache
def pair(family: str) -> tuple[Transformer, Any]:
    """A random model whose texts vary and often end, and the same opened in ours."""
    kind, config = MODELS[family]
    reference: Any = theirs.random(kind, config, size=0.3 if family == "t5" else 0.15)
    if family == "t5":
        reference.decoder.final_layer_norm.weight.neg_()  # a tied model that disliked nothing would say one word for ever
        reference.shared.weight[EOS] *= 2
    else:
        _enliven(reference)
    return _opened(reference), reference


def _enliven(reference: Any) -> None:
    """Norms behind each sum let little vary: less bias, more of the source, and a last norm of either sign."""
    for name, parameter in reference.named_parameters():
        if name.endswith("bias"):
            parameter *= 0.1
        elif "encoder_attn." in name:
            parameter *= 3
    last = reference.model.decoder.layers[-1].final_layer_norm
    last.bias.zero_()
    last.weight.copy_(1.5 * torch.randn(last.weight.shape, generator=torch.Generator().manual_seed(2)))
    reference.final_logits_bias *= 0.3
    reference.final_logits_bias[0, EOS] += 1.5


def _opened(reference: Any) -> Transformer:
    with TemporaryDirectory() as directory:
        reference.save_pretrained(directory)
        return checkpoint.load(Path(directory))


def sources(pad: int) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    """Texts of 3 to 9 ids, the same padded, and the mask."""
    ids, lengths = tiny.ids(NUM_SOURCES, LONGEST, seed=7), 3 + torch.arange(NUM_SOURCES) % (LONGEST - 2)
    mask = (torch.arange(LONGEST).unsqueeze(0) < lengths.unsqueeze(1)).long()
    texts = [row[:length].tolist() for row, length in zip(ids, lengths.tolist(), strict=True)]
    return texts, ids.masked_fill(mask == 0, pad), mask


@torch.inference_mode()
def wanted(reference: Any, beam: Beam, knobs: dict[str, Any], **inputs: Any) -> tuple[list[list[int]], list[float]]:
    """What transformers makes of all texts: num_return rows each, and their scores (none for greedy)."""
    made = reference.generate(
        **inputs,
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        num_beams=beam.num_beams,
        num_return_sequences=beam.num_return,
        length_penalty=beam.length_penalty,
        early_stopping=beam.early_stopping,
        return_dict_in_generate=True,
        output_scores=True,
        **knobs,
    )
    scores = made.sequences_scores.tolist() if beam.num_beams > 1 else []
    return made.sequences.tolist(), scores


def cut(row: list[int], start: int) -> tuple[int, ...]:
    """The new tokens of a padded row, up to the end id."""
    new = row[start:]
    return tuple(new[: new.index(EOS) + 1] if EOS in new else new)


def assert_alike(ours: list[list[Hypothesis]], rows: list[list[int]], scores: list[float], start: int) -> None:
    flat = [text for texts in ours for text in texts]
    assert [text.ids for text in flat] == [cut(row, start) for row in rows]
    for text, score in zip(flat, scores, strict=False):
        assert text.score == pytest.approx(score, abs=1e-5 * max(1.0, abs(score)))


@settings
@families
def test_the_n_best_of_many_sources_are_the_same(family: str, name: str) -> None:
    ours, reference = pair(family)
    beam, knobs = SETTINGS[name]
    texts, ids, mask = sources(reference.config.pad_token_id)
    rows, scores = wanted(reference, beam, knobs, input_ids=ids, attention_mask=mask)
    assert_alike(hypotheses_of_sources(ours, texts, beam, max_tokens=MAX_TOKENS), rows, scores, 1)


@settings
@families
def test_the_n_best_of_one_source_are_the_same(family: str, name: str) -> None:
    """By a session for each beam, of which no pass holds two."""
    ours, reference = pair(family)
    beam, knobs = SETTINGS[name]
    texts, ids, mask = (part[:4] for part in sources(reference.config.pad_token_id))
    rows, scores = wanted(reference, beam, knobs, input_ids=ids, attention_mask=mask)
    made = [hypotheses(Session(ours, source_ids=text), [], beam, max_tokens=MAX_TOKENS) for text in texts]
    assert_alike(made, rows, scores, 1)


@settings
def test_the_n_best_of_a_prompt_are_the_same(name: str) -> None:
    """A model without an encoder, whose beams share their passes. Theirs force a first token only after a prompt of one id."""
    beam, knobs = SETTINGS[name]
    sizes = {"vocab_size": 31, "n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 3}
    ends = {"bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": EOS}
    reference: Any = theirs.random(GPT2LMHeadModel, GPT2Config(**sizes, **ends), size=0.4)
    reference.transformer.ln_f.weight.neg_()
    ours = _opened(reference)
    prompts = tiny.ids(10, 1 if "forced_bos_token_id" in knobs else 4, seed=9)
    rows, scores = wanted(reference, beam, knobs, input_ids=prompts, attention_mask=torch.ones_like(prompts))
    made = [hypotheses(Session(ours), prompt, beam, max_tokens=MAX_TOKENS) for prompt in prompts.tolist()]
    assert_alike(made, rows, scores, prompts.shape[1])
    assert len({token for texts in made for text in texts for token in text.ids}) > 6, "the tokens vary"


@families
def test_what_is_compared_varies(family: str) -> None:
    """Tokens, lengths, ends and the effect of every setting: what never varied would prove nothing."""
    ours, reference = pair(family)
    texts = sources(reference.config.pad_token_id)[0]
    found = {
        name: [best[0].ids for best in hypotheses_of_sources(ours, texts, beam, max_tokens=MAX_TOKENS)]
        for name, (beam, _) in SETTINGS.items()
    }
    every = [ids for each in found.values() for ids in each]
    assert len({token for ids in every for token in ids}) > 15
    assert {len(ids) for ids in every} >= set(range(1, MAX_TOKENS + 1))
    assert 0.2 < sum(ids[-1] == EOS for ids in every) / len(every) < 0.95
    assert len({tuple(each) for each in found.values()}) == len(SETTINGS)
