"""Small summarisers as people have them. In: a directory. Out: a checkpoint of transformers in it, with our tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from cutaway.text import Tokenizer
from tests.text.samples import trained
from tests.weights import theirs

DOCUMENTS = (
    "Once upon a time there was a small cat. The cat was called Tom, and Tom liked the dog.",
    "The dog, however, could see 365 cats.\n\nThe cat and the dog went up the hill.",
    "“I can’t see the dog,” said Tom; it's 12 o'clock!",
)
ASKS: dict[str, Any] = {
    "prefix": "summarize: ",
    "num_beams": 3,
    "length_penalty": 2.0,
    "early_stopping": True,
    "no_repeat_ngram_size": 2,
    "min_length": 5,
    "max_length": 14,
}


def tokenizer() -> Tokenizer:
    """Texts end with the end token."""
    plain = trained("bpe")
    assert plain.roles.eos is not None
    return plain.framed(None, plain.spelling(plain.roles.eos))


def summariser(kind: str, directory: Path, asks: dict[str, Any] | None = None) -> Any:
    """Write a random model, with what is asked of it in the table of its task. Returns the reference."""
    roles, size = tokenizer().roles, tokenizer().vocab_size
    ends = {"eos_token_id": roles.eos, "pad_token_id": roles.pad}
    kinds: dict[str, Any] = {
        "bart": lambda: theirs.random(BartForConditionalGeneration, BartConfig(**bart_sizes(size), **ends), size=0.15),
        "t5": lambda: theirs.random(T5ForConditionalGeneration, T5Config(**t5_sizes(size), **ends), size=0.3),
        "gpt2": lambda: theirs.random(
            GPT2LMHeadModel,
            GPT2Config(vocab_size=size, n_positions=96, n_embd=24, n_layer=2, n_head=3, bos_token_id=roles.bos, **ends),
            size=0.4,
        ),
    }  # fmt: skip
    reference = kinds[kind]()
    enliven(kind, reference)
    reference.save_pretrained(directory)
    tokenizer().save(directory)
    if asks is not None:
        config = json.loads((directory / "config.json").read_text())
        config["task_specific_params"] = {"summarization": asks}
        (directory / "config.json").write_text(json.dumps(config))
    return reference


def bart_sizes(size: int) -> dict[str, Any]:
    roles = tokenizer().roles
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in SIDE.items()}
    return {
        "vocab_size": size,
        "d_model": 18,
        "max_position_embeddings": 64,
        "bos_token_id": roles.bos,
        "decoder_start_token_id": roles.eos,
        "forced_eos_token_id": roles.eos,
        "scale_embedding": True,
        **sides,
    }


SIDE: dict[str, Any] = {"layers": 2, "attention_heads": 3, "ffn_dim": 20}


def t5_sizes(size: int) -> dict[str, Any]:
    widths = {"d_model": 18, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 3, "n_positions": 64}
    return {"vocab_size": size, "decoder_start_token_id": tokenizer().roles.pad, **widths}


def enliven(kind: str, reference: Any) -> None:
    """A tied random model would say one word for ever."""
    generator = torch.Generator().manual_seed(2)
    if kind == "t5":
        reference.decoder.final_layer_norm.weight.neg_()
    elif kind == "gpt2":
        reference.transformer.ln_f.weight.neg_()
    else:
        for name, parameter in reference.named_parameters():
            parameter *= 0.1 if name.endswith("bias") else 3 if "encoder_attn." in name else 1
        last = reference.model.decoder.layers[-1].final_layer_norm
        last.bias.zero_()
        last.weight.copy_(1.5 * torch.randn(last.weight.shape, generator=generator))
